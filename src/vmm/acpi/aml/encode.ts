/**
 * ACPI Machine Language, bottom layer: names, package lengths and constants (ACPI 6.5, chapter 20.2).
 *
 * A piece of AML is its bytes. Pieces are put together by `join`, which is several times as fast as spreading them:
 * tables are built at every start of a machine.
 */

export type Aml = readonly number[];

const Prefix = {
  Byte: 0x0a,
  Word: 0x0b,
  DWord: 0x0c,
  String: 0x0d,
  QWord: 0x0e,
  DualName: 0x2e,
  MultiName: 0x2f,
} as const;
const NAME_SEGMENT_LENGTH = 4;
const ROOT = 0x5c;

export function join(...pieces: Aml[]): Aml {
  return ([] as number[]).concat(...pieces);
}

/** `size` bytes of a number, lowest first. */
export function littleEndian(value: number, size: number): number[] {
  const out: number[] = [];
  for (let i = 0, rest = value; i < size; i++, rest = Math.floor(rest / 256)) out.push(rest % 256);
  return out;
}

/** An integer constant in its shortest form (20.2.3). */
export function integer(value: number): Aml {
  if (value === 0 || value === 1) return [value];
  if (value < 0x100) return [Prefix.Byte, value];
  if (value < 0x1_0000) return join([Prefix.Word], littleEndian(value, 2));
  if (value < 0x1_0000_0000) return join([Prefix.DWord], littleEndian(value, 4));
  return join([Prefix.QWord], littleEndian(value, 8));
}

export function string(text: string): Aml {
  return join([Prefix.String], ascii(text), [0]);
}

/** A name path such as `\_SB.PCI0`: segments of up to four characters, padded with underscores (20.2.2). */
export function path(name: string): Aml {
  const absolute = name.startsWith("\\");
  const segments = (absolute ? name.slice(1) : name).split(".").filter((s) => s !== "");
  const out: number[] = absolute ? [ROOT] : [];
  if (segments.length === 0) return [...out, 0];
  if (segments.length === 2) out.push(Prefix.DualName);
  if (segments.length > 2) out.push(Prefix.MultiName, segments.length);
  return join(out, ...segments.map((segment) => ascii(segment.padEnd(NAME_SEGMENT_LENGTH, "_"))));
}

/** An operator whose operands are preceded by their length, which counts itself (20.2.4). */
export function withLength(operator: Aml, content: Aml): Aml {
  const size = content.length;
  let length: number[];
  if (size + 1 < 1 << 6) length = [size + 1];
  else if (size + 2 < 1 << 12) length = extendedLength(size + 2, 1);
  else if (size + 3 < 1 << 20) length = extendedLength(size + 3, 2);
  else length = extendedLength(size + 4, 3);
  return join(operator, length, content);
}

/** The low four bits in the first byte, the rest in `extra` bytes after it. */
function extendedLength(total: number, extra: number): number[] {
  return [(extra << 6) | (total & 0x0f), ...littleEndian(total >>> 4, extra)];
}

/** A plug-and-play id such as "PNP0A08", packed into a number (6.1.5, EISA id). */
export function eisaId(id: string): Aml {
  const letter = (i: number) => id.charCodeAt(i) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  const bigEndian = [vendor >>> 8, vendor & 0xff, product >>> 8, product & 0xff];
  return [Prefix.DWord, ...bigEndian];
}

/** The sixteen bytes of a UUID as ToUUID() of ASL makes them: the first three groups byte-swapped. */
export function uuidBytes(uuid: string): number[] {
  const hex = uuid.replaceAll("-", "");
  const byte = (i: number) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16);
  return [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(byte);
}

function ascii(text: string): number[] {
  const codes: number[] = [];
  for (let i = 0; i < text.length; i++) codes.push(text.charCodeAt(i));
  return codes;
}
