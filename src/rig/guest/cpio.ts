/** The archive that Linux takes as initramfs: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface CpioEntry {
  /** Path without a leading slash; directories before what is in them. */
  readonly path: string;
  readonly kind: "file" | "directory" | "link" | "character-device";
  readonly permissions?: number;
  /** The file's bytes, or the link's target. */
  readonly content?: Buffer | string;
  /** Of a character device. */
  readonly device?: { readonly major: number; readonly minor: number };
}

const typeBits = { file: 0o100000, directory: 0o040000, link: 0o120000, "character-device": 0o020000 };

function record(
  inode: number,
  mode: number,
  name: string,
  content: Buffer,
  device = { major: 0, minor: 0 },
): Buffer {
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [
    inode,
    mode,
    0, // uid
    0, // gid
    1, // links
    0, // time
    content.length,
    0, // device of the file, major and minor
    0,
    device.major,
    device.minor,
    nameBytes.length,
    0, // checksum, of another format
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
  return Buffer.concat([
    Buffer.from(header),
    nameBytes,
    padding(header.length + nameBytes.length),
    content,
    padding(content.length),
  ]);
}

/** The entries as one archive. The same entries give the same bytes. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const records = entries.map((entry, index) => {
    const standard = entry.kind === "directory" ? 0o755 : 0o644;
    const mode = typeBits[entry.kind] | (entry.permissions ?? (entry.kind === "link" ? 0o777 : standard));
    return record(index + 1, mode, entry.path, Buffer.from(entry.content ?? ""), entry.device);
  });
  return Buffer.concat([...records, record(0, 0, "TRAILER!!!", Buffer.alloc(0))]);
}
