/**
 * A FAT32 file system with files in it, for an EFI system partition (Microsoft, "FAT32 File System Specification" 1.03; UEFI
 * 2.10, 13.3). Names are short ones (8.3), times are all the same: the same files give the same bytes.
 */
import { ThimbleError } from "../../base/errors.ts";
import { ascii, packed, u8, u16, u32 } from "../../base/layout.ts";

const SECTOR_BYTES = 512;
const RESERVED_SECTORS = 32;
const FATS = 2;
const ROOT_CLUSTER = 2;
/** One sector per cluster. A file system with fewer clusters would be taken for FAT16 by its size. */
const CLUSTERS_MIN = 65_525;

const BootSector = packed("FAT32 boot sector", "FAT32 File System Specification 1.03, boot sector and BPB", {
  jmpBoot: ascii(3),
  oemName: ascii(8),
  bytsPerSec: u16,
  secPerClus: u8,
  rsvdSecCnt: u16,
  numFats: u8,
  rootEntCnt: u16,
  totSec16: u16,
  media: u8,
  fatSz16: u16,
  secPerTrk: u16,
  numHeads: u16,
  hiddSec: u32,
  totSec32: u32,
  fatSz32: u32,
  extFlags: u16,
  fsVer: u16,
  rootClus: u32,
  fsInfo: u16,
  bkBootSec: u16,
  reserved: ascii(12),
  drvNum: u8,
  reserved1: u8,
  bootSig: u8,
  volId: u32,
  volLab: ascii(11),
  filSysType: ascii(8),
});
const MEDIA_FIXED = 0xf8;
const EXTENDED_BOOT_SIGNATURE = 0x29;
const FS_INFO_SECTOR = 1;
const BACKUP_SECTOR = 6;
const SIGNATURE_AT = 510;
const SIGNATURE = [0x55, 0xaa];

const FsInfo = packed("FSInfo", "FAT32 File System Specification 1.03, FSInfo sector", {
  leadSig: u32,
  reserved: ascii(480),
  strucSig: u32,
  freeCount: u32,
  nextFree: u32,
});
const LEAD_SIGNATURE = 0x4161_5252;
const STRUCTURE_SIGNATURE = 0x6141_7272;

const DirectoryEntry = packed(
  "directory entry",
  "FAT32 File System Specification 1.03, directory structure",
  {
    name: ascii(11),
    attr: u8,
    ntRes: u8,
    crtTimeTenth: u8,
    crtTime: u16,
    crtDate: u16,
    lstAccDate: u16,
    fstClusHi: u16,
    wrtTime: u16,
    wrtDate: u16,
    fstClusLo: u16,
    fileSize: u32,
  },
);
const Attribute = { VolumeId: 0x08, Directory: 0x10, Archive: 0x20 } as const;
/** 1 January 2026: years since 1980, month, day. */
const DATE = (46 << 9) | (1 << 5) | 1;
const END_OF_CHAIN = 0x0fff_ffff;
const SHORT_NAME = /^[A-Z0-9_-]{1,8}(\.[A-Z0-9_-]{1,3})?$/;

interface Folder {
  readonly folders: Map<string, Folder>;
  readonly files: Map<string, Uint8Array>;
}

/** Content by path with slashes, in capital letters. Throws ThimbleError: "bad_name", "file_system_full". */
export function fat32(
  sizeBytes: number,
  label: string,
  volumeId: number,
  files: Readonly<Record<string, Uint8Array>>,
): Uint8Array {
  const volume = new Volume(sizeBytes);
  volume.fill(treeOf(files), label);
  return volume.finish(label, volumeId);
}

function treeOf(files: Readonly<Record<string, Uint8Array>>): Folder {
  const root: Folder = { folders: new Map(), files: new Map() };
  for (const [path, content] of Object.entries(files)) {
    const names = path.split("/");
    const bad = names.find((name) => !SHORT_NAME.test(name));
    if (bad !== undefined) throw new ThimbleError("bad_name", `"${bad}" in ${path} is no short name (8.3).`);
    const last = names.pop() as string;
    let folder = root;
    for (const name of names) {
      const next = folder.folders.get(name) ?? { folders: new Map(), files: new Map() };
      folder.folders.set(name, next);
      folder = next;
    }
    folder.files.set(last, content);
  }
  return root;
}

class Volume {
  readonly #bytes: Uint8Array;
  readonly #fatSectors: number;
  readonly #clusters: number;
  readonly #chains: Uint32Array;
  #next = ROOT_CLUSTER;

  constructor(sizeBytes: number) {
    this.#bytes = new Uint8Array(sizeBytes);
    const sectors = sizeBytes / SECTOR_BYTES;
    // Each cluster takes its sector and four bytes in each table.
    const data = sectors - RESERVED_SECTORS;
    this.#fatSectors = Math.ceil((data + 2) / (SECTOR_BYTES / 4 + FATS));
    this.#clusters = data - FATS * this.#fatSectors;
    if (this.#clusters < CLUSTERS_MIN) {
      throw new ThimbleError("file_system_full", `${sizeBytes} bytes are too few for a FAT32 file system.`);
    }
    this.#chains = new Uint32Array(this.#clusters + ROOT_CLUSTER);
    this.#chains[0] = END_OF_CHAIN - 0xff + MEDIA_FIXED;
    this.#chains[1] = END_OF_CHAIN;
  }

  fill(root: Folder, label: string): void {
    const volume = DirectoryEntry.encode({ name: label.padEnd(11), attr: Attribute.VolumeId, wrtDate: DATE });
    this.#addFolder(root, null, [volume]);
  }

  /** Places a folder with all in it; returns its first cluster. `parent` is null for the root, and its cluster is 0 there. */
  #addFolder(folder: Folder, parent: number | null, first: Uint8Array[] = []): number {
    const own = parent === null ? 0 : 2; // "." and ".."
    const entries = first.length + own + folder.folders.size + folder.files.size;
    const cluster = this.#allocate(entries * DirectoryEntry.size);
    const list = [...first];
    if (parent !== null) list.push(folderEntry(".", cluster), folderEntry("..", parent));
    for (const [name, each] of folder.folders) {
      list.push(folderEntry(shortName(name), this.#addFolder(each, parent === null ? 0 : cluster)));
    }
    for (const [name, content] of folder.files) {
      const start = content.length === 0 ? 0 : this.#allocate(content.length);
      if (start !== 0) this.#bytes.set(content, this.#offset(start));
      list.push(entry(shortName(name), Attribute.Archive, start, content.length));
    }
    list.forEach((one, i) => {
      this.#bytes.set(one, this.#offset(cluster) + i * DirectoryEntry.size);
    });
    return cluster;
  }

  /** Clusters in a row. */
  #allocate(lengthBytes: number): number {
    const count = Math.max(1, Math.ceil(lengthBytes / SECTOR_BYTES));
    const start = this.#next;
    if (start + count > this.#clusters + ROOT_CLUSTER) {
      throw new ThimbleError(
        "file_system_full",
        `The files do not fit a file system of ${this.#bytes.length} bytes.`,
      );
    }
    for (let i = 0; i < count; i++) this.#chains[start + i] = i === count - 1 ? END_OF_CHAIN : start + i + 1;
    this.#next += count;
    return start;
  }

  #offset(cluster: number): number {
    return (RESERVED_SECTORS + FATS * this.#fatSectors + cluster - ROOT_CLUSTER) * SECTOR_BYTES;
  }

  /** Writes tables and boot sectors; the volume is whole then. */
  finish(label: string, volumeId: number): Uint8Array {
    const boot = new Uint8Array(SECTOR_BYTES);
    BootSector.patch(boot, 0, {
      jmpBoot: "\xeb\x58\x90",
      oemName: "THIMBLE",
      bytsPerSec: SECTOR_BYTES,
      secPerClus: 1,
      rsvdSecCnt: RESERVED_SECTORS,
      numFats: FATS,
      media: MEDIA_FIXED,
      secPerTrk: 63,
      numHeads: 255,
      totSec32: this.#bytes.length / SECTOR_BYTES,
      fatSz32: this.#fatSectors,
      rootClus: ROOT_CLUSTER,
      fsInfo: FS_INFO_SECTOR,
      bkBootSec: BACKUP_SECTOR,
      drvNum: 0x80,
      bootSig: EXTENDED_BOOT_SIGNATURE,
      volId: volumeId,
      volLab: label.padEnd(11),
      filSysType: "FAT32   ",
    });
    const info = new Uint8Array(SECTOR_BYTES);
    FsInfo.patch(info, 0, {
      leadSig: LEAD_SIGNATURE,
      strucSig: STRUCTURE_SIGNATURE,
      freeCount: this.#clusters + ROOT_CLUSTER - this.#next,
      nextFree: this.#next,
    });
    for (const sector of [boot, info]) sector.set(SIGNATURE, SIGNATURE_AT);
    for (const at of [0, BACKUP_SECTOR]) {
      this.#bytes.set(boot, at * SECTOR_BYTES);
      this.#bytes.set(info, (at + FS_INFO_SECTOR) * SECTOR_BYTES);
    }
    const table = new Uint8Array(this.#chains.buffer);
    for (let i = 0; i < FATS; i++) {
      this.#bytes.set(table, (RESERVED_SECTORS + i * this.#fatSectors) * SECTOR_BYTES);
    }
    return this.#bytes;
  }
}

function entry(name: string, attr: number, cluster: number, fileSize: number): Uint8Array {
  return DirectoryEntry.encode({
    name,
    attr,
    crtDate: DATE,
    lstAccDate: DATE,
    wrtDate: DATE,
    fstClusHi: cluster >>> 16,
    fstClusLo: cluster & 0xffff,
    fileSize,
  });
}

function folderEntry(name: string, cluster: number): Uint8Array {
  return entry(name.padEnd(11), Attribute.Directory, cluster, 0);
}

/** "BOOTX64.EFI" as it is stored: name and extension filled up with spaces. */
function shortName(name: string): string {
  const [base = "", extension = ""] = name.split(".");
  return base.padEnd(8) + extension.padEnd(3);
}
