/**
 * Numbers of the UEFI compression (UEFI 2.10, chapter 19): LZ77 whose literals, lengths and distances are coded by
 * Huffman codes that each block brings along. edk2's variant, "Tiano", differs in one width and so in the window.
 */
import { packed, u32 } from "../../../base/layout.ts";

export const efiCompressedHeader = packed("EFI compressed data header", "UEFI 2.10, 19.2.1", {
  /** Of the bits that follow. */
  compressedBytes: u32,
  originalBytes: u32,
});

export type EfiVariant = "efi" | "tiano";

export interface VariantNumbers {
  /** Bits that say how many position codes there are. */
  readonly positionCountBits: number;
  /** Distances reach 2^windowBits back. */
  readonly windowBits: number;
}

export const variants: Readonly<Record<EfiVariant, VariantNumbers>> = {
  efi: { positionCountBits: 4, windowBits: 13 },
  tiano: { positionCountBits: 5, windowBits: 19 },
};

/** The shortest and the longest repetition. */
export const MATCH_MIN = 3;
export const MATCH_MAX = 256;

/** Literals, then lengths from MATCH_MIN on. */
export const LITERALS = 256;
export const CHAR_SYMBOLS = LITERALS + MATCH_MAX - MATCH_MIN + 1;
export const CHAR_COUNT_BITS = 9;

/** Symbols of the code that the lengths of the character code are written in: three for runs of zeros, then lengths. */
export const EXTRA_SYMBOLS = 19;
export const EXTRA_COUNT_BITS = 5;
/** After this many lengths of the extra code, two bits say how many zeros follow. */
export const EXTRA_ZEROS_AFTER = 3;
/** Runs of zero lengths: one; `bits` bits more than `from`. */
export const shortRun = { from: 3, bits: 4 } as const;
export const longRun = { from: 20, bits: 9 } as const;
/** What is added to a length in the extra code, for the three symbols of runs. */
export const LENGTH_OFFSET = 2;

/** No Huffman code is longer. */
export const CODE_BITS_MAX = 16;
/** A block says how many symbols it has in this many bits. */
export const BLOCK_COUNT_BITS = 16;
