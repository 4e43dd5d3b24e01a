/**
 * The proof that a changed flash image is what was meant: it is read again and compared with the tree it was written
 * from, and that tree with the one before the change, file by file at their places.
 */
import { createHash } from "node:crypto";
import { ThimbleError } from "../../base/errors.ts";
import { assembleFile } from "./assemble.ts";
import { parseImage } from "./parse.ts";
import { fileStarts, isBlankPad } from "./place.ts";
import type { FirmwareFile, FirmwareImage, Section, Volume } from "./tree.ts";

/** One thing in the image. What holds others is compared by them, and by where it is. */
interface Fact {
  readonly kind: "opaque" | "volume" | "file" | "container" | "pad" | "section";
  readonly file?: FirmwareFile;
  readonly text: string;
}

const digest = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** Everything in an image, with its place. */
function factsOf(image: FirmwareImage): Fact[] {
  const facts: Fact[] = [];
  let at = 0;
  for (const part of image.parts) {
    if (part.kind === "opaque") facts.push({ kind: "opaque", text: `bytes at ${at} ${digest(part.data)}` });
    else volumeFacts(part, `${at}`, facts);
    at += part.kind === "opaque" ? part.data.length : part.sizeBytes;
  }
  return facts;
}

function volumeFacts(volume: Volume, path: string, facts: Fact[]): void {
  const tail = volume.tail === undefined ? "" : digest(volume.tail);
  facts.push({
    kind: "volume",
    text: `${path} volume ${volume.sizeBytes} ${digest(volume.prologue)} ${tail}`,
  });
  const starts = fileStarts(volume);
  for (const [index, file] of volume.files.entries()) {
    if (isBlankPad(file, volume.eraseByte)) {
      facts.push({ kind: "pad", text: `${path} pad` });
      continue;
    }
    const at = `${path}/${starts[index]}`;
    const { content, gap } = file;
    if (content instanceof Uint8Array || !holdsVolume(content)) {
      const after = gap === undefined ? "" : digest(gap);
      facts.push({ kind: "file", file, text: `${at} file ${digest(assembleFile(file))} ${after}` });
      continue;
    }
    // Its own place may change; what is in it is told by the path of names instead.
    const inner = `${path}/${file.name}`;
    const { name, type, attributes, state } = file;
    facts.push({ kind: "container", text: `${inner} container ${name} ${type} ${attributes} ${state}` });
    sectionFacts(content, inner, facts);
  }
}

function holdsVolume(sections: readonly Section[]): boolean {
  return sections.some(
    (section) =>
      section.kind === "volume-section" ||
      (section.kind === "encapsulation" && holdsVolume(section.children)),
  );
}

function sectionFacts(sections: readonly Section[], path: string, facts: Fact[]): void {
  for (const [index, section] of sections.entries()) {
    const at = `${path}/section${index}`;
    const text = `${at} ${section.type} ${section.longHeader}`;
    if (section.kind === "leaf") {
      const gap = section.gap === undefined ? "" : digest(section.gap);
      facts.push({ kind: "section", text: `${text} ${digest(section.data)} ${gap}` });
      continue;
    }
    if (section.kind === "volume-section") {
      facts.push({ kind: "section", text });
      volumeFacts(section.volume, at, facts);
      continue;
    }
    facts.push({ kind: "section", text: `${text} ${section.codec}` });
    sectionFacts(section.children, at, facts);
  }
}

/** Those of `facts` that are not in `others`; each of the others accounts for one. */
function without(facts: readonly Fact[], others: readonly Fact[]): Fact[] {
  const counts = new Map<string, number>();
  for (const { text } of others) counts.set(text, (counts.get(text) ?? 0) + 1);
  return facts.filter(({ text }) => {
    const left = counts.get(text) ?? 0;
    if (left > 0) counts.set(text, left - 1);
    return left === 0;
  });
}

export interface ExpectedChange {
  /** Files that are gone. */
  readonly gone: ReadonlySet<FirmwareFile>;
  /** Files that are new. */
  readonly added: ReadonlySet<FirmwareFile>;
}

/**
 * Checks that `bytes` read as `after`, and that `after` differs from `before` as expected and in nothing else.
 * Errors: `rom_not_verified`: a bug of this program; nothing may be written then.
 */
export function verifyChange(
  before: FirmwareImage,
  after: FirmwareImage,
  bytes: Uint8Array,
  expected: ExpectedChange,
): void {
  const fail = (what: string): never => {
    throw new ThimbleError(
      "rom_not_verified",
      `The changed ROM failed its check and was not written: ${what}.`,
    );
  };
  const read = parseImage(bytes);
  if (read.problems.length > before.problems.length) fail(read.problems.at(-1) ?? "");
  const [was, meant, is] = [factsOf(before), factsOf(after), factsOf(read)];
  const [lost] = without(meant, is);
  const [extra] = without(is, meant);
  if (lost !== undefined || extra !== undefined) fail(`it reads as "${extra?.text}", not "${lost?.text}"`);

  const gone = without(was, meant);
  const added = without(meant, was);
  const unexpected = (files: ReadonlySet<FirmwareFile>) => (fact: Fact) => {
    if (fact.kind === "pad") return false;
    // In a compressed section a volume may have grown; one in the flash itself may not.
    if (fact.kind === "volume") return !fact.text.includes("/section");
    return fact.file === undefined || !files.has(fact.file);
  };
  const [wrong] = [...gone.filter(unexpected(expected.gone)), ...added.filter(unexpected(expected.added))];
  if (wrong !== undefined) fail(`more would change than was asked for: ${wrong.text}`);
  const count = (facts: readonly Fact[]): number => facts.filter((fact) => fact.kind === "file").length;
  if (count(gone) !== expected.gone.size || count(added) !== expected.added.size) {
    fail("less would change than was asked for");
  }
}
