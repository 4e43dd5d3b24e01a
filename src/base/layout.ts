/**
 * Binary structures, declared once.
 *
 * A structure is described by its specification's field names in order; from that come byte offsets and sizes as
 * constants (for hot paths that index typed arrays themselves) and a readable encode/decode (for cold paths such as
 * ioctls, ACPI, PE, netlink). `struct` aligns fields naturally as the C ABI does, `packed` does not align.
 */

/** A scalar, a byte string, an array or a nested structure: how many bytes and how to read and write them. */
export interface FieldType<T> {
  readonly size: number;
  readonly align: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
  /** The value a field takes when `encode` is not given one. */
  readonly zero: T;
}

function scalar(
  size: number,
  read: (view: DataView, at: number) => number,
  write: (view: DataView, at: number, value: number) => void,
): FieldType<number> {
  return { size, align: size, read, write, zero: 0 };
}

/** 64-bit fields as plain numbers: reading one above 2^53 - 1 loses low bits, so use `u64big` where they matter. */
function readU64(view: DataView, at: number, little: boolean): number {
  const low = view.getUint32(little ? at : at + 4, little);
  const high = view.getUint32(little ? at + 4 : at, little);
  return high * 0x1_0000_0000 + low;
}

function writeU64(view: DataView, at: number, value: number, little: boolean): void {
  const high = Math.floor(value / 0x1_0000_0000);
  view.setUint32(little ? at : at + 4, value >>> 0, little);
  view.setUint32(little ? at + 4 : at, high >>> 0, little);
}

export const u8 = scalar(
  1,
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
);
export const u16 = scalar(
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
);
export const u32 = scalar(
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, x) => v.setUint32(at, x, true),
);
export const i32 = scalar(
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, x) => v.setInt32(at, x, true),
);
export const u64 = scalar(
  8,
  (v, at) => readU64(v, at, true),
  (v, at, x) => writeU64(v, at, x, true),
);
export const be16 = scalar(
  2,
  (v, at) => v.getUint16(at, false),
  (v, at, x) => v.setUint16(at, x, false),
);
export const be32 = scalar(
  4,
  (v, at) => v.getUint32(at, false),
  (v, at, x) => v.setUint32(at, x, false),
);
export const be64 = scalar(
  8,
  (v, at) => readU64(v, at, false),
  (v, at, x) => writeU64(v, at, x, false),
);

/** A 64-bit field with all its bits, for MSRs and the like. */
export const u64big: FieldType<bigint> = {
  size: 8,
  align: 8,
  zero: 0n,
  read: (v, at) => v.getBigUint64(at, true),
  write: (v, at, x) => v.setBigUint64(at, x, true),
};

/** `length` raw bytes; writing fewer leaves the rest zero. */
export function bytes(length: number): FieldType<Uint8Array> {
  return {
    size: length,
    align: 1,
    zero: new Uint8Array(0),
    read: (v, at) => new Uint8Array(v.buffer.slice(v.byteOffset + at, v.byteOffset + at + length)),
    write: (v, at, value) => {
      if (value.length > length)
        throw new RangeError(`${value.length} bytes do not fit a field of ${length}`);
      const target = new Uint8Array(v.buffer, v.byteOffset + at, length);
      target.fill(0);
      target.set(value);
    },
  };
}

/** `length` bytes of ASCII, padded with zeros; reading stops at the first zero. */
export function ascii(length: number): FieldType<string> {
  return {
    size: length,
    align: 1,
    zero: "",
    read: (v, at) => {
      let text = "";
      for (let i = 0; i < length; i++) {
        const code = v.getUint8(at + i);
        if (code === 0) break;
        text += String.fromCharCode(code);
      }
      return text;
    },
    write: (v, at, value) => {
      if (value.length > length) throw new RangeError(`"${value}" does not fit a field of ${length} bytes`);
      for (let i = 0; i < length; i++) v.setUint8(at + i, i < value.length ? value.charCodeAt(i) : 0);
    },
  };
}

/** `count` elements of one type in a row. */
export function array<T>(element: FieldType<T>, count: number): FieldType<T[]> {
  return {
    size: element.size * count,
    align: element.align,
    zero: [],
    read: (v, at) => Array.from({ length: count }, (_, i) => element.read(v, at + i * element.size)),
    write: (v, at, values) => {
      if (values.length > count) throw new RangeError(`${values.length} elements do not fit ${count}`);
      for (let i = 0; i < count; i++) element.write(v, at + i * element.size, values[i] ?? element.zero);
    },
  };
}

type Fields = Record<string, FieldType<unknown>>;
export type StructValue<F extends Fields> = {
  -readonly [K in keyof F]: F[K] extends FieldType<infer T> ? T : never;
};

/** A described structure; itself a field type, so structures nest. */
export interface Struct<F extends Fields> extends FieldType<StructValue<F>> {
  readonly name: string;
  /** Where it is specified, e.g. "virtio 1.2, 2.7.5". */
  readonly source: string;
  /** Byte offset of each field. */
  readonly offset: { readonly [K in keyof F]: number };
  /** A new buffer holding the structure; fields not given are zero. */
  encode(value: Partial<StructValue<F>>): Uint8Array<ArrayBuffer>;
  /** Writes the given fields at `at`, leaving the others as they are. */
  patch(target: Uint8Array, at: number, value: Partial<StructValue<F>>): void;
  /** Reads all fields at `at`. Throws RangeError when the bytes end too early. */
  decode(source: Uint8Array, at?: number): StructValue<F>;
}

function define<F extends Fields>(name: string, source: string, fields: F, aligned: boolean): Struct<F> {
  const offset: Record<string, number> = {};
  let end = 0;
  let structAlign = 1;
  for (const key in fields) {
    const field = fields[key] as FieldType<unknown>;
    if (aligned) {
      structAlign = Math.max(structAlign, field.align);
      end = Math.ceil(end / field.align) * field.align;
    }
    offset[key] = end;
    end += field.size;
  }
  const size = Math.ceil(end / structAlign) * structAlign;
  const read = (view: DataView, at: number): StructValue<F> => {
    const value: Record<string, unknown> = {};
    for (const key in fields) value[key] = fields[key]?.read(view, at + (offset[key] as number));
    return value as StructValue<F>;
  };
  const write = (view: DataView, at: number, value: Partial<StructValue<F>>): void => {
    for (const key in value) fields[key]?.write(view, at + (offset[key] as number), value[key]);
  };
  return {
    name,
    source,
    size,
    align: structAlign,
    offset: offset as { [K in keyof F]: number },
    get zero() {
      return read(new DataView(new ArrayBuffer(size)), 0);
    },
    read,
    write,
    encode(value) {
      const out = new Uint8Array(size);
      write(dataView(out), 0, value);
      return out;
    },
    patch(target, at, value) {
      write(dataView(target), at, value);
    },
    decode(bytesIn, at = 0) {
      if (at < 0 || at + size > bytesIn.length) {
        throw new RangeError(`${name}: ${size} bytes at ${at} are outside the ${bytesIn.length} given`);
      }
      return read(dataView(bytesIn), at);
    },
  };
}

function dataView(of: Uint8Array): DataView {
  return new DataView(of.buffer, of.byteOffset, of.byteLength);
}

/** A structure with natural alignment and trailing padding, as a C compiler for x86-64 lays it out. */
export function struct<F extends Fields>(name: string, source: string, fields: F): Struct<F> {
  return define(name, source, fields, true);
}

/** A structure without any padding, as wire and file formats have them. */
export function packed<F extends Fields>(name: string, source: string, fields: F): Struct<F> {
  return define(name, source, fields, false);
}
