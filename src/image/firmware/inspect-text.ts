/** A report on a flash image as text: a tree with one line per thing, then what could be given up. */
import type { FileReport, OpaqueReport, RomReport, SectionReport, VolumeReport } from "./inspect.ts";

/** What a person should know before changing such a ROM. */
export const BOOT_GUARD =
  "Intel Boot Guard checks parts of this flash before UEFI runs: a changed ROM might not start.";

const hex = (value: number): string => `0x${value.toString(16)}`;
const bytes = (value: number): string => `${value.toLocaleString("en-US")} bytes`;

/** `withSections` shows every section; otherwise only those that hold volumes, are compressed or are kept closed. */
export function formatRomReport(report: RomReport, withSections = false): string {
  const lines: string[] = [];
  const put = (depth: number, text: string): void => {
    lines.push("  ".repeat(depth) + text);
  };
  put(0, `ROM, ${bytes(report.sizeBytes)}`);
  if (report.capsule !== undefined) put(0, `update capsule: ${report.capsule}`);
  if (report.bootGuard) put(0, BOOT_GUARD);
  for (const region of report.regions ?? []) {
    put(1, `${hex(region.offset)} region ${region.name}, ${bytes(region.sizeBytes)}`);
  }
  for (const part of report.parts) {
    if (part.kind === "bytes") putBytes(put, part);
    else putVolume(put, part, 1, withSections);
  }
  for (const gain of report.optional) {
    put(0, `could be given up: "${gain.group}" (${gain.loses}), about ${bytes(gain.bytes)}`);
    for (const { module, bytes: each } of gain.modules) put(1, `${module}, about ${bytes(each)}`);
  }
  for (const problem of report.problems) put(0, `problem: ${problem}`);
  return `${lines.join("\n")}\n`;
}

type Put = (depth: number, text: string) => void;

function putBytes(put: Put, { offset, sizeBytes, content }: OpaqueReport): void {
  put(1, `${hex(offset)} ${content === "data" ? "no volume" : content}, ${bytes(sizeBytes)}`);
}

function putVolume(put: Put, volume: VolumeReport, depth: number, withSections: boolean): void {
  const { freeBytes, variables, fileSystemName, fileSystem } = volume;
  const parts = [`${hex(volume.offset)} volume ${fileSystemName ?? fileSystem}`, bytes(volume.sizeBytes)];
  if (volume.name !== undefined) parts.push(`named ${volume.name}`);
  if (freeBytes !== undefined) parts.push(`${freeBytes.toLocaleString("en-US")} free`);
  if (variables !== undefined) {
    parts.push(`${variables.variables} variables in ${variables.usedBytes} of ${variables.sizeBytes} bytes`);
  }
  put(depth, parts.join(", "));
  for (const file of volume.files) putFile(put, file, depth + 1, withSections);
}

function putFile(put: Put, file: FileReport, depth: number, withSections: boolean): void {
  const label = file.type === "pad" ? "pad" : `${file.name} ${file.type}`;
  const tags = [bytes(file.sizeBytes), file.module, file.machine].filter((tag) => tag !== undefined);
  put(depth, `${hex(file.offset)} ${label}, ${tags.join(", ")}`);
  for (const section of file.sections) putSection(put, section, depth + 1, withSections);
}

function putSection(put: Put, section: SectionReport, depth: number, withSections: boolean): void {
  const { storedAs, unpackedBytes, text, volume, definition } = section;
  const shown = withSections || [volume, unpackedBytes, definition].some((each) => each !== undefined);
  if (shown) {
    const parts = [`${hex(section.offset)} section ${section.type}`, bytes(section.sizeBytes)];
    if (definition !== undefined) parts.push(`${definition}, which is kept closed`);
    if (storedAs !== undefined) parts.push(storedAs);
    if (unpackedBytes !== undefined) parts.push(`unpacked ${bytes(unpackedBytes)}`);
    if (text !== undefined) parts.push(`"${text}"`);
    put(depth, parts.join(", "));
  }
  const inner = shown ? depth + 1 : depth;
  if (volume !== undefined) putVolume(put, volume, inner, withSections);
  for (const each of section.sections ?? []) putSection(put, each, inner, withSections);
}
