/** cpio "newc" archives, which Linux takes as initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). */
import { ThimbleError } from "../base/errors.ts";
import { ascii, type FieldType, packed } from "../base/layout.ts";

/** A number as eight hexadecimal digits. */
const hex8: FieldType<number> = {
  size: 8,
  align: 1,
  zero: 0,
  read: (view, at) => Number.parseInt(ascii(8).read(view, at), 16),
  write: (view, at, value) => ascii(8).write(view, at, value.toString(16).padStart(8, "0")),
};

const cpioHeader = packed("cpio newc header", "Linux, early-userspace/buffer-format.rst", {
  magic: ascii(6),
  inode: hex8,
  mode: hex8,
  uid: hex8,
  gid: hex8,
  links: hex8,
  mtime: hex8,
  fileBytes: hex8,
  deviceMajor: hex8,
  deviceMinor: hex8,
  specialMajor: hex8,
  specialMinor: hex8,
  nameBytes: hex8,
  check: hex8,
});

/** What a record that says nothing about them has: zeros in digits, not zero bytes. */
const NO_FIELDS = {
  ...{ inode: 0, mode: 0, uid: 0, gid: 0, links: 0, mtime: 0, deviceMajor: 0, deviceMinor: 0 },
  ...{ specialMajor: 0, specialMinor: 0, check: 0 },
};

const MAGIC = "070701";
/** Names and contents are padded to multiples of this. */
const ALIGNMENT_BYTES = 4;
const TRAILER = "TRAILER!!!";

export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly data: Uint8Array }
  | {
      readonly kind: "character-device";
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

/** S_IFMT values of stat(2). */
const typeBits = { directory: 0o040000, file: 0o100000, "character-device": 0o020000 };

function record(name: string, fields: Parameters<typeof cpioHeader.encode>[0], data: Uint8Array): Uint8Array {
  const nameData = Buffer.from(`${name}\0`);
  const dataAt = Math.ceil((cpioHeader.size + nameData.length) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const out = new Uint8Array(dataAt + Math.ceil(data.length / ALIGNMENT_BYTES) * ALIGNMENT_BYTES);
  const complete = { ...NO_FIELDS, ...fields };
  cpioHeader.patch(out, 0, { ...complete, magic: MAGIC, fileBytes: data.length, nameBytes: nameData.length });
  out.set(nameData, cpioHeader.size);
  out.set(data, dataAt);
  return out;
}

/**
 * The entries as an archive, owned by root, without times: the same entries give the same bytes.
 * Errors: `bad_archive_path` when a path is absolute, comes twice, or comes before its directory.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const seen = new Set<string>();
  const directories = new Set<string>([""]);
  const records = entries.map((entry, index) => {
    const parent = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf("/")));
    if (entry.path === "" || entry.path.startsWith("/") || seen.has(entry.path) || !directories.has(parent)) {
      throw new ThimbleError(
        "bad_archive_path",
        `Archive entry "${entry.path}" must be relative, come once, and after its directory.`,
      );
    }
    seen.add(entry.path);
    if (entry.kind === "directory") directories.add(entry.path);
    const mode = typeBits[entry.kind] | entry.mode;
    const links = entry.kind === "directory" ? 2 : 1;
    const special =
      entry.kind === "character-device" ? { specialMajor: entry.major, specialMinor: entry.minor } : {};
    const data = entry.kind === "file" ? entry.data : new Uint8Array(0);
    return record(entry.path, { inode: index + 1, mode, links, ...special }, data);
  });
  return Buffer.concat([...records, record(TRAILER, { links: 1 }, new Uint8Array(0))]);
}
