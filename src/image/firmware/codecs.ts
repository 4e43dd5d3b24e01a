/**
 * Sections that hold further sections, and how each stores them: as they are, behind a checksum, or compressed by one of
 * five algorithms. PI 1.8, volume 3, 2.2.4 ("encapsulation sections") and 3.2.5.
 */
import { crc32 } from "node:zlib";
import { ThimbleError } from "../../base/errors.ts";
import { brotliDecode, brotliLength, brotliUnpackedBytes } from "./compress/brotli.ts";
import { efiDecode, efiOriginalBytes } from "./compress/efi-decode.ts";
import { efiEncode } from "./compress/efi-encode.ts";
import { lzmaDecode, lzmaEncode, lzmaUnpackedBytes } from "./compress/lzma.ts";
import { x86Decode, x86Encode } from "./compress/x86-filter.ts";
import {
  COMPRESSION_CUSTOMIZED,
  COMPRESSION_NONE,
  COMPRESSION_STANDARD,
  compressionSection,
  crc32Section,
  GUIDED_PROCESSING_REQUIRED,
  guidedSection,
  SECTION_BROTLI,
  SECTION_CRC32,
  SECTION_LZMA,
  SECTION_LZMA_HP,
  SECTION_LZMA_MICROSOFT,
  SECTION_LZMA_X86,
  SECTION_TIANO,
  SECTION_TYPE_COMPRESSION,
  SECTION_TYPE_DISPOSABLE,
  SECTION_TYPE_GUIDED,
} from "./format.ts";
import type { Guid } from "./guid.ts";
import type { CodecName, Encapsulation } from "./tree.ts";

export const codecTitles: Readonly<Record<CodecName, string>> = {
  plain: "not compressed",
  crc32: "behind a CRC32",
  lzma: "LZMA",
  "lzma-x86": "LZMA with x86 filter",
  tiano: "Tiano",
  efi: "UEFI compression",
  brotli: "Brotli",
};

const guidedCodecs: Readonly<Record<string, CodecName>> = {
  [SECTION_LZMA]: "lzma",
  [SECTION_LZMA_HP]: "lzma",
  [SECTION_LZMA_MICROSOFT]: "lzma",
  [SECTION_BROTLI]: "brotli",
  [SECTION_LZMA_X86]: "lzma-x86",
  [SECTION_TIANO]: "tiano",
  [SECTION_CRC32]: "crc32",
};

const compressionCodecs: Readonly<Record<number, readonly CodecName[]>> = {
  [COMPRESSION_NONE]: ["plain"],
  // The specification's algorithm; some vendors' tools write edk2's variant under the same number.
  [COMPRESSION_STANDARD]: ["efi", "tiano"],
  [COMPRESSION_CUSTOMIZED]: ["lzma"],
};

/** What an encapsulating section's body (all after the section header) consists of. */
export interface Encapsulated {
  /** The first that can read the data is the right one. */
  readonly codecs: readonly CodecName[];
  readonly header: Uint8Array;
  readonly data: Uint8Array;
}

/**
 * Takes a section's body apart; undefined for sections that hold none, or do so in a way not known here. `headerBytes`
 * is the length of the section header, which offsets in the body count from.
 * Errors: `bad_firmware_volume`.
 */
export function encapsulated(type: number, body: Uint8Array, headerBytes: number): Encapsulated | undefined {
  const split = (codecs: readonly CodecName[], at: number): Encapsulated => {
    if (at < 0 || at > body.length) {
      throw new ThimbleError("bad_firmware_volume", `it has its data at ${at}, outside of itself.`);
    }
    return { codecs, header: body.subarray(0, at), data: body.subarray(at) };
  };
  switch (type) {
    case SECTION_TYPE_DISPOSABLE:
      return split(["plain"], 0);
    case SECTION_TYPE_COMPRESSION: {
      if (body.length < compressionSection.size) break;
      const codecs = compressionCodecs[compressionSection.decode(body).compressionType];
      return codecs === undefined ? undefined : split(codecs, compressionSection.size);
    }
    case SECTION_TYPE_GUIDED: {
      if (body.length < guidedSection.size) break;
      const { definition, dataOffset, attributes } = guidedSection.decode(body);
      const codec = guidedCodecs[definition];
      const at = dataOffset - headerBytes;
      const least = guidedSection.size + (codec === "crc32" ? crc32Section.size : 0);
      if (at < least) throw new ThimbleError("bad_firmware_volume", `it has its data at ${dataOffset}.`);
      if (codec !== undefined) return split([codec], at);
      // Of a definition not known (signatures, for example), but readable without knowing it.
      return (attributes & GUIDED_PROCESSING_REQUIRED) === 0 ? split(["plain"], at) : undefined;
    }
    default:
      return undefined;
  }
  throw new ThimbleError("bad_firmware_volume", "it ends within its header.");
}

/** How many bytes compressed data say they unpack to; undefined where nothing is compressed. Errors: `bad_compressed_data`. */
export function claimedBytes(codec: CodecName, data: Uint8Array): number | undefined {
  switch (codec) {
    case "plain":
    case "crc32":
      return undefined;
    case "lzma":
    case "lzma-x86":
      return lzmaUnpackedBytes(data);
    case "tiano":
    case "efi":
      return efiOriginalBytes(data);
    case "brotli":
      return brotliUnpackedBytes(data);
  }
}

/** The sections' bytes. Errors: `bad_compressed_data`, `xz_failed`. */
export function decodeSections(
  codec: CodecName,
  header: Uint8Array,
  data: Uint8Array,
  bytesMax: number,
): Uint8Array {
  switch (codec) {
    case "plain":
      return data;
    case "crc32": {
      const expected = crc32Section.decode(header, guidedSection.size).crc32;
      if (crc32(data) !== expected) throw new ThimbleError("bad_compressed_data", "The CRC32 is wrong.");
      return data;
    }
    case "lzma":
      return lzmaDecode(data, bytesMax);
    case "lzma-x86":
      return x86Decode(lzmaDecode(data, bytesMax));
    case "tiano":
    case "efi":
      return efiDecode(data, codec, bytesMax);
    case "brotli":
      return brotliDecode(data, bytesMax);
  }
}

/** Stores changed sections' bytes: the new header and data. Errors: `section_not_packable`, `xz_failed`. */
export function encodeSections(
  section: Pick<Encapsulation, "codec" | "type" | "header">,
  bytes: Uint8Array,
): { header: Uint8Array; data: Uint8Array } {
  const header = section.header.slice();
  if (section.type === SECTION_TYPE_COMPRESSION) {
    compressionSection.patch(header, 0, { uncompressedLength: bytes.length });
  }
  if (section.codec === "crc32") crc32Section.patch(header, guidedSection.size, { crc32: crc32(bytes) });
  return { header, data: encodeData(section.codec, bytes) };
}

function encodeData(codec: CodecName, bytes: Uint8Array): Uint8Array {
  switch (codec) {
    case "plain":
    case "crc32":
      return bytes;
    case "lzma":
      return lzmaEncode(bytes);
    case "lzma-x86":
      return lzmaEncode(x86Encode(bytes));
    case "tiano":
    case "efi":
      return efiEncode(bytes, codec);
    case "brotli":
      throw new ThimbleError(
        "section_not_packable",
        "What has to change is in a section packed by Brotli, which can be read, but not packed again.",
      );
  }
}

/** How many bytes these take in a section of that codec. Errors: `xz_failed`. */
export function encodedLength(codec: CodecName, bytes: Uint8Array): number {
  return codec === "brotli" ? brotliLength(bytes) : encodeData(codec, bytes).length;
}

/** What a GUID-defined section's definition is; undefined for other sections. */
export function definitionOf(type: number, body: Uint8Array): Guid | undefined {
  const guided = type === SECTION_TYPE_GUIDED && body.length >= guidedSection.size;
  return guided ? guidedSection.decode(body).definition : undefined;
}
