/** Volumes that hold UEFI variables instead of files, as edk2 and most vendors lay them out. */
import { bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { alignUp, volumeHeader } from "./format.ts";
import { type Guid, guid } from "./guid.ts";
import type { Volume } from "./tree.ts";

/** EFI_SYSTEM_NV_DATA_FV_GUID: the "file system" of such a volume. */
const NVRAM_FILE_SYSTEM: Guid = "FFF12B8D-7696-4C8B-A985-2747075B4F50";

export const storeHeader = packed(
  "VARIABLE_STORE_HEADER",
  "edk2, MdeModulePkg/Include/Guid/VariableFormat.h",
  {
    signature: guid,
    size: u32,
    format: u8,
    state: u8,
    reserved: bytes(6),
  },
);

const variableHeader = packed("VARIABLE_HEADER", "edk2, MdeModulePkg/Include/Guid/VariableFormat.h", {
  startId: u16,
  state: u8,
  reserved: u8,
  attributes: u32,
  nameSize: u32,
  dataSize: u32,
  vendorGuid: guid,
});

export const authenticatedHeader = packed(
  "AUTHENTICATED_VARIABLE_HEADER",
  "edk2, MdeModulePkg/Include/Guid/VariableFormat.h",
  {
    startId: u16,
    state: u8,
    reserved: u8,
    attributes: u32,
    monotonicCount: u64,
    timeStamp: bytes(16),
    pubKeyIndex: u32,
    nameSize: u32,
    dataSize: u32,
    vendorGuid: guid,
  },
);

/** By the store's signature: how its variables begin. */
const variableHeaders: Readonly<Record<Guid, typeof variableHeader | typeof authenticatedHeader>> = {
  "DDCF3616-3275-4164-98B6-FE85707FFE7D": variableHeader,
  "AAF32C78-947B-439A-A180-2E144EC37792": authenticatedHeader,
};

export const VARIABLE_START = 0x55aa;
/** VAR_ADDED: written, and not deleted since. */
export const VARIABLE_IN_USE = 0x3f;
export const VARIABLE_ALIGNMENT_BYTES = 4;

export interface VariableStore {
  readonly sizeBytes: number;
  /** Taken by variables in use and by old ones not cleaned up yet. */
  readonly usedBytes: number;
  readonly variables: number;
}

/** What a volume of variables holds; undefined for other volumes and for layouts not known. */
export function variableStore(volume: Volume): VariableStore | undefined {
  if (volume.fileSystem !== NVRAM_FILE_SYSTEM) return undefined;
  const storeAt = volumeHeader.decode(volume.prologue).headerLength;
  if (storeAt + storeHeader.size > volume.prologue.length) return undefined;
  const store = storeHeader.decode(volume.prologue, storeAt);
  const header = variableHeaders[store.signature];
  if (header === undefined || storeAt + store.size > volume.prologue.length) return undefined;
  const data = volume.prologue.subarray(storeAt, storeAt + store.size);
  let at = alignUp(storeHeader.size, VARIABLE_ALIGNMENT_BYTES);
  let variables = 0;
  while (at + header.size <= data.length) {
    const { startId, state, nameSize, dataSize } = header.decode(data, at);
    if (startId !== VARIABLE_START) break;
    if (state === VARIABLE_IN_USE) variables++;
    at = alignUp(at + header.size + nameSize + dataSize, VARIABLE_ALIGNMENT_BYTES);
  }
  return { sizeBytes: store.size, usedBytes: Math.min(at, data.length), variables };
}
