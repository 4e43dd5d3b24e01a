/**
 * PE files as Authenticode sees them: what is hashed, and where signatures are put (Microsoft, "PE Format", and "Windows
 * Authenticode Portable Executable Signature Format", which UEFI 2.10, 32.2.2 refers to).
 */
import { createHash } from "node:crypto";
import { ThimbleError } from "../../base/errors.ts";
import { ascii, bytes, packed, u16, u32 } from "../../base/layout.ts";

const DosHeader = packed("IMAGE_DOS_HEADER", "PE Format, MS-DOS stub", {
  signature: ascii(2),
  unused: bytes(58),
  peOffset: u32,
});

const FileHeader = packed("PE signature and IMAGE_FILE_HEADER", "PE Format, COFF file header", {
  signature: ascii(4),
  machine: u16,
  numberOfSections: u16,
  timeDateStamp: u32,
  pointerToSymbolTable: u32,
  numberOfSymbols: u32,
  sizeOfOptionalHeader: u16,
  characteristics: u16,
});

/** What comes first in the optional header, up to where its two forms differ behind the check sum. */
const OptionalHeader = packed("IMAGE_OPTIONAL_HEADER", "PE Format, optional header", {
  magic: u16,
  unused: bytes(58),
  sizeOfHeaders: u32,
  checkSum: u32,
});

/** By the optional header's magic: where in it the number of data directories is, which follow that. */
const DIRECTORY_COUNT_AT: Readonly<Record<number, number>> = { 267: 92, 523: 108 };

const DataDirectory = packed("IMAGE_DATA_DIRECTORY", "PE Format, optional header data directories", {
  virtualAddress: u32,
  size: u32,
});
const CERTIFICATE_TABLE = 4;

const SectionHeader = packed("IMAGE_SECTION_HEADER", "PE Format, section table", {
  name: ascii(8),
  virtualSize: u32,
  virtualAddress: u32,
  sizeOfRawData: u32,
  pointerToRawData: u32,
  unused: bytes(16),
});

const WinCertificate = packed("WIN_CERTIFICATE", "UEFI 2.10, 32.2.4", {
  length: u32,
  revision: u16,
  certificateType: u16,
});
const REVISION_2 = 0x0200;
const TYPE_PKCS_SIGNED_DATA = 0x0002;
/** Entries of the certificate table begin at multiples of this, and so does the table. */
const CERTIFICATE_ALIGNMENT = 8;

/** Where in a PE file the things are that a signature does not cover. */
interface Places {
  readonly checkSumAt: number;
  readonly certificateDirectoryAt: number;
}

/**
 * Finds them. Throws ThimbleError: "not_an_efi_program"; "already_signed"; "unusual_program" for files of which
 * parts would not be covered by a signature, as verifiers differ on those.
 */
function findPlaces(file: Uint8Array): Places {
  const bad = (what: string) =>
    new ThimbleError("not_an_efi_program", `The image is not an EFI program: ${what}.`);
  if (file.length < DosHeader.size || DosHeader.decode(file).signature !== "MZ") throw bad("no DOS header");
  const fileHeaderAt = DosHeader.decode(file).peOffset;
  const optionalAt = fileHeaderAt + FileHeader.size;
  if (optionalAt + OptionalHeader.size > file.length) throw bad("it ends before its headers do");
  const header = FileHeader.decode(file, fileHeaderAt);
  if (header.signature !== "PE") throw bad("no PE header");
  const { magic, sizeOfHeaders } = OptionalHeader.decode(file, optionalAt);
  const countOffset = DIRECTORY_COUNT_AT[magic];
  if (countOffset === undefined) throw bad("its optional header is of no known kind");
  const countAt = optionalAt + countOffset;
  const certificateDirectoryAt = countAt + 4 + CERTIFICATE_TABLE * DataDirectory.size;
  const sectionsAt = optionalAt + header.sizeOfOptionalHeader;
  const sectionsEnd = sectionsAt + header.numberOfSections * SectionHeader.size;
  if (sectionsEnd > sizeOfHeaders || sizeOfHeaders > file.length) throw bad("its section table is cut short");
  if (
    certificateDirectoryAt + DataDirectory.size > sectionsAt ||
    u32.read(view(file), countAt) <= CERTIFICATE_TABLE
  ) {
    throw bad("its headers have no place for a signature");
  }
  if (DataDirectory.decode(file, certificateDirectoryAt).size !== 0) {
    throw new ThimbleError(
      "already_signed",
      "The image is signed already; sign the one that the build made.",
    );
  }
  checkSections(file, sectionsAt, header.numberOfSections, sizeOfHeaders);
  return { checkSumAt: optionalAt + OptionalHeader.offset.checkSum, certificateDirectoryAt };
}

/** Every byte up to the last section's end belongs to the headers or to one section. */
function checkSections(file: Uint8Array, at: number, count: number, sizeOfHeaders: number): void {
  const sections = Array.from({ length: count }, (_, i) =>
    SectionHeader.decode(file, at + i * SectionHeader.size),
  )
    .filter(({ sizeOfRawData }) => sizeOfRawData > 0)
    .sort((a, b) => a.pointerToRawData - b.pointerToRawData);
  let end = sizeOfHeaders;
  for (const { name, pointerToRawData, sizeOfRawData } of sections) {
    if (pointerToRawData !== end) {
      throw new ThimbleError(
        "unusual_program",
        `The image's section "${name}" begins at ${pointerToRawData}, not at ${end}, where what is before it ends.`,
      );
    }
    end += sizeOfRawData;
  }
  if (end > file.length) {
    throw new ThimbleError(
      "not_an_efi_program",
      `The image has ${file.length} bytes, its sections ${end}: it is cut short.`,
    );
  }
}

/** A file that is ready for a signature. */
export interface Signable {
  /** SHA-256 of all that a signature covers. */
  readonly digest: Uint8Array;
  /** The file with the signature (PKCS #7 SignedData) in it. */
  attach(signature: Uint8Array): Uint8Array;
}

/** Errors: those of `findPlaces`. */
export function signable(file: Uint8Array): Signable {
  const { checkSumAt, certificateDirectoryAt } = findPlaces(file);
  // What fills the file up to the table's alignment is covered as well.
  const padded = new Uint8Array(alignUp(file.length));
  padded.set(file);
  const hash = createHash("sha256");
  hash.update(padded.subarray(0, checkSumAt));
  hash.update(padded.subarray(checkSumAt + u32.size, certificateDirectoryAt));
  hash.update(padded.subarray(certificateDirectoryAt + DataDirectory.size));
  return {
    digest: hash.digest(),
    attach(signature) {
      const length = WinCertificate.size + signature.length;
      const signed = new Uint8Array(padded.length + alignUp(length));
      signed.set(padded);
      WinCertificate.patch(signed, padded.length, {
        length,
        revision: REVISION_2,
        certificateType: TYPE_PKCS_SIGNED_DATA,
      });
      signed.set(signature, padded.length + WinCertificate.size);
      // The table's address is one in the file, unlike those of other directories.
      DataDirectory.patch(signed, certificateDirectoryAt, {
        virtualAddress: padded.length,
        size: alignUp(length),
      });
      return signed;
    },
  };
}

function alignUp(length: number): number {
  return Math.ceil(length / CERTIFICATE_ALIGNMENT) * CERTIFICATE_ALIGNMENT;
}

function view(of: Uint8Array): DataView {
  return new DataView(of.buffer, of.byteOffset, of.byteLength);
}
