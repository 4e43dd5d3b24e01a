/** What a CD drive answers in bytes: pure functions from a command to its data. Null refuses a field of the command. */
import { Capacity10, Capacity16, Cdb10, CdbConfiguration, CdbEvent, CdbPage } from "./cdb.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const VENDOR = "THIMBLE ";
const PRODUCT = "CD-ROM          ";
const REVISION = "1.0 ";
const CD_BLOCK = 2048;
/** Peripheral device type (SPC-4, 6.4.2). */
const TYPE_CD = 5;
/** Profiles (MMC-6, 5.3.1): an image of more than a CD holds is a DVD for no driver that matters. */
const PROFILE_CD_ROM = 0x0008;
/** Read retries that the error recovery page names. */
const READ_RETRIES = 1;

/** INQUIRY, and its pages of vital product data (SPC-4, 6.4, 7.8). */
export function inquiry(cdb: DataView, serial: string): Bytes | null {
  const page = cdb.getUint8(CdbPage.offset.page);
  if ((cdb.getUint8(Cdb10.offset.flags) & 1) === 0) {
    if (page !== 0) return null;
    // Removable; SPC-3; 31 more bytes.
    return join([TYPE_CD, 0x80, 5, 2, 31, 0, 0, 0], ascii(VENDOR + PRODUCT + REVISION));
  }
  const vpd = (content: readonly number[]) => join([TYPE_CD, page, 0, content.length], content);
  switch (page) {
    case 0x00:
      return vpd([0x00, 0x80, 0x83]);
    case 0x80:
      return vpd(ascii(serial));
    case 0x83: {
      // T10 vendor identification in ASCII, of the logical unit.
      const name = ascii(VENDOR + serial);
      return vpd([0x02, 0x01, 0, name.length, ...name]);
    }
    default:
      return null;
  }
}

/** LUN 0 only (SPC-4, 6.33). */
export function reportLuns(): Bytes {
  const out = new Uint8Array(16);
  out[3] = 8;
  return out;
}

/** Last block and block size; an empty image has no last block, and says 0. */
export function capacity10(blocks: number): Bytes {
  return Capacity10.encode({
    lastBlock: Math.min(Math.max(0, blocks - 1), 0xffff_ffff),
    blockBytes: CD_BLOCK,
  });
}

export function capacity16(blocks: number): Bytes {
  return Capacity16.encode({ lastBlock: Math.max(0, blocks - 1), blockBytes: CD_BLOCK });
}

/** Read error recovery (0x01) and CD capabilities (0x2a) behind a mode parameter header without block descriptors. */
export function modePages(page: number, changeable: boolean, long: boolean, locked: boolean): Bytes | null {
  const recovery = [0x01, 0x0a, 0, READ_RETRIES, 0, 0, 0, 0, 0, 0, 0, 0];
  // Reads CD-R, CD-RW and DVD-ROM; tray that the drive can lock and eject.
  const capabilities = new Array<number>(22).fill(0);
  capabilities.splice(0, 8, 0x2a, 0x14, 0x0b, 0, 0, 0, locked ? 0x2b : 0x29, 0);
  const pages = page === 0x3f ? [recovery, capabilities] : page === 1 ? [recovery] : [capabilities];
  if (page !== 0x3f && page !== 1 && page !== 0x2a) return null;
  // Nothing can be changed: a mask of zeroes.
  const content = pages.flatMap((one) => (changeable ? one.map((byte, i) => (i < 2 ? byte : 0)) : one));
  return long
    ? join([0, content.length + 6, 0, 0, 0, 0, 0, 0], content)
    : join([content.length + 3, 0, 0, 0], content);
}

/** READ TOC/PMA/ATIP: one data track in one session (MMC-6, 6.25). */
export function toc(cdb: DataView, blocks: number): Bytes | null {
  const isMsf = (cdb.getUint8(Cdb10.offset.flags) & 2) !== 0;
  // Old drivers have the format in the last byte (SFF-8020).
  const format = cdb.getUint8(CdbPage.offset.page) & 0xf || cdb.getUint8(Cdb10.offset.control) >>> 6;
  const track = cdb.getUint8(Cdb10.offset.track);
  const entry = (number: number, at: number) => [0, 0x14, number, 0, ...position(at, isMsf)];
  if (format === 0) {
    if (track > 1 && track !== 0xaa) return null;
    const entries = [...(track <= 1 ? entry(1, 0) : []), ...entry(0xaa, blocks)];
    return join([0, entries.length + 2, 1, 1], entries);
  }
  if (format === 1) return join([0, 10, 1, 1], entry(1, 0));
  if (format === 2) {
    const point = (number: number, place: readonly number[]) => [1, 0x14, 0, number, 0, 0, 0, ...place];
    const [, ...start] = position(0, true);
    const [, ...end] = position(blocks, true);
    const points = [
      ...point(0xa0, [0, 1, 0, 0]),
      ...point(0xa1, [0, 1, 0, 0]),
      ...point(0xa2, [0, ...end]),
      ...point(1, [0, ...start]),
    ];
    return join([0, points.length + 2, 1, 1], points);
  }
  return null;
}

/** Four bytes: a block number, or minute, second and frame behind the two seconds of lead-in. */
function position(lba: number, isMsf: boolean): readonly number[] {
  if (!isMsf) return [lba >>> 24, (lba >>> 16) & 0xff, (lba >>> 8) & 0xff, lba & 0xff];
  const frames = lba + 150;
  return [0, Math.min(255, Math.floor(frames / 4500)), Math.floor(frames / 75) % 60, frames % 75];
}

/** A finished disc of one session and one track (MMC-6, 6.21). */
export function discInformation(cdb: DataView): Bytes | null {
  if ((cdb.getUint8(Cdb10.offset.flags) & 7) !== 0) return null;
  const out = new Uint8Array(34);
  out.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
  out.fill(0xff, 16, 24);
  return out;
}

/** Features by number, version/persistent/current and content (MMC-6, 5.3). */
const FEATURES: readonly (readonly [number, number, readonly number[]])[] = [
  [0x0000, 0x03, [PROFILE_CD_ROM >>> 8, PROFILE_CD_ROM & 0xff, 0, 0]],
  // Core: SCSI family, DBEvent.
  [0x0001, 0x0b, [0, 0, 0, 1, 1, 0, 0, 0]],
  // Removable medium: tray, eject, lock.
  [0x0003, 0x03, [0x29, 0, 0, 0]],
  // Random readable: blocks of 2048 bytes.
  [0x0010, 0x01, [0, 0, CD_BLOCK >>> 8, 0, 0, 1, 0, 0]],
  // CD read.
  [0x001e, 0x09, [0, 0, 0, 0]],
];
/** Current only with a medium. */
const MEDIUM_FEATURES: readonly number[] = [0x0010, 0x001e];

/** GET CONFIGURATION (MMC-6, 6.5). */
export function configuration(cdb: DataView, hasMedium: boolean): Bytes {
  const kind = cdb.getUint8(Cdb10.offset.flags) & 3;
  const first = cdb.getUint16(CdbConfiguration.offset.feature);
  const descriptors = FEATURES.flatMap(([number, flags, content]) => {
    const isCurrent = hasMedium || !MEDIUM_FEATURES.includes(number);
    const isWanted = kind === 2 ? number === first : number >= first && (kind === 0 || isCurrent);
    if (!isWanted) return [];
    const bytes = [number >>> 8, number & 0xff, isCurrent ? flags : flags & ~1, content.length, ...content];
    // The profile list's one profile is current with a medium.
    if (number === 0 && hasMedium) bytes[6] = 1;
    return bytes;
  });
  const profile = hasMedium ? PROFILE_CD_ROM : 0;
  return join([0, 0, 0, descriptors.length + 4, 0, 0, 0, profile], descriptors);
}

export const EVENT_HEADER_BYTES = 4;
const MEDIA_CLASS = 4;

/** Whether GET EVENT STATUS NOTIFICATION asks for the only class there is (MMC-6, 6.6). */
export function asksForMedia(cdb: DataView): boolean {
  return (cdb.getUint8(CdbEvent.offset.classes) & (1 << MEDIA_CLASS)) !== 0;
}

export function mediaEvent(asked: boolean, event: number, trayOpen: boolean, present: boolean): Bytes {
  const classes = 1 << MEDIA_CLASS;
  if (!asked) return Uint8Array.of(0, 2, 0x80, classes);
  return Uint8Array.of(0, 6, MEDIA_CLASS, classes, event, (trayOpen ? 1 : 0) | (present ? 2 : 0), 0, 0);
}

function ascii(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}

function join(header: readonly number[], content: readonly number[]): Bytes {
  return Uint8Array.from([...header, ...content]);
}
