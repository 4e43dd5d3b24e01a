/**
 * Results as an SVG: a row for each measure, in it a mark for each peer that says how many times as good as the peer
 * Thimble is. The axis is logarithmic, 1 in the middle: marks to the right of it are in Thimble's favour.
 */
import { type Result, timesAsGood, titleOf } from "./figures.ts";
import type { Peer } from "./measures.ts";

const labelWidth = 340;
const plotWidth = 460;
const valueWidth = 130;
const rowHeight = 22;
const headHeight = 64;
const footHeight = 14;
const width = labelWidth + plotWidth + valueWidth;
/** The axis reaches from 1/axisMax to axisMax; what lies beyond stands at its end. */
const axisMax = 8;
const ticks = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8];

const peers: readonly { readonly peer: Peer; readonly name: string; readonly colour: string }[] = [
  { peer: "qemu-q35", name: "QEMU q35", colour: "#c2410c" },
  { peer: "qemu-microvm", name: "QEMU microvm", colour: "#1d4ed8" },
];

const xOf = (ratio: number): number => {
  const inside = Math.min(axisMax, Math.max(1 / axisMax, ratio));
  return labelWidth + (plotWidth * (Math.log2(inside) / Math.log2(axisMax) + 1)) / 2;
};

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const text = (x: number, y: number, content: string, attributes = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(content)}</text>`;

/** A circle for the first peer, a square for the second: colours alone do not reach everybody. */
function mark(index: number, x: number, y: number, title: string): string {
  const colour = peers[index]?.colour as string;
  const label = `<title>${escaped(title)}</title>`;
  return index === 0
    ? `<circle cx="${x.toFixed(1)}" cy="${y}" r="5" fill="${colour}">${label}</circle>`
    : `<rect x="${(x - 4.5).toFixed(1)}" y="${y - 4.5}" width="9" height="9" fill="${colour}">${label}</rect>`;
}

function axis(bottom: number): string[] {
  return ticks.flatMap((ratio) => {
    const x = xOf(ratio);
    const name = ratio < 1 ? `1/${1 / ratio} ×` : `${ratio} ×`;
    const stroke = ratio === 1 ? "#555" : "#ddd";
    return [
      `<line x1="${x.toFixed(1)}" y1="${headHeight - 8}" x2="${x.toFixed(1)}" y2="${bottom}" stroke="${stroke}"/>`,
      text(x, headHeight - 14, name, 'text-anchor="middle" fill="#555"'),
    ];
  });
}

function row(result: Result, index: number): string[] {
  const y = headHeight + rowHeight * index + rowHeight / 2;
  const marks = peers.flatMap(({ peer, name }, place) => {
    const ratio = timesAsGood(result, peer);
    return ratio === null ? [] : [mark(place, xOf(ratio), y, `${ratio.toFixed(2)} × as good as ${name}`)];
  });
  return [
    text(labelWidth - 12, y + 4, titleOf(result.name), 'text-anchor="end"'),
    ...marks,
    text(width - 12, y + 4, `${result.thimble} ${result.unit}`, 'text-anchor="end" fill="#555"'),
  ];
}

/** The chart as the text of an SVG file. */
export function chart(results: readonly Result[]): string {
  const bottom = headHeight + rowHeight * results.length;
  const legend = peers.flatMap(({ name }, index) => [
    mark(index, 18 + 110 * index, 18, name),
    text(28 + 110 * index, 22, name),
  ]);
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${bottom + footHeight}" viewBox="0 0 ${width} ${bottom + footHeight}" font-family="system-ui, sans-serif" font-size="12">`,
    "<title>Thimble beside QEMU: how many times as good</title>",
    '<rect width="100%" height="100%" fill="#fff"/>',
    ...legend,
    text(xOf(1) + 6, 22, "Thimble is better →", 'fill="#555"'),
    text(xOf(1) - 6, 22, "← the peer is better", 'text-anchor="end" fill="#555"'),
    text(width - 12, headHeight - 14, "Thimble", 'text-anchor="end" fill="#555"'),
    ...axis(bottom),
    ...results.flatMap(row),
    "</svg>",
  ].join("\n")}\n`;
}
