/**
 * The flash of 16 MiB: two banks of 6 MiB, and above them a stock OVMF with the boot selector in the place of its Shell.
 * Nothing has to be given up for room, as the image is not in OVMF's volume; network boot goes because OVMF tries it before
 * the Shell's place, for minutes.
 */
import { embedImage } from "../firmware/embed.ts";
import { parseImage } from "../firmware/parse.ts";
import { buildBank } from "./bank.ts";

/** As firmware/selector/selector.c has it. */
export const BANK_BYTES = 6 * 2 ** 20;

export interface TwoBankOptions {
  /** Stock OVMF, its two parts. */
  readonly ovmfCode: Uint8Array;
  readonly ovmfVars: Uint8Array;
  readonly selector: Uint8Array;
  /** What each bank holds; null: it is erased. */
  readonly banks: readonly [BankContent | null, BankContent | null];
}

export interface BankContent {
  readonly image: Uint8Array;
  readonly version: string;
}

export interface TwoBankFlash {
  /** The top of the flash. */
  readonly code: Uint8Array;
  /** The rest below it: the banks, and OVMF's variables above them. */
  readonly banksAndVars: Uint8Array;
}

/** Errors: those of `embedImage` and `buildBank`. */
export function buildTwoBankFlash(options: TwoBankOptions): TwoBankFlash {
  const { ovmfCode, ovmfVars, selector, banks } = options;
  const { rom } = embedImage(ovmfCode, parseImage(ovmfCode), { image: selector, drop: ["network"] });
  const erased = () => new Uint8Array(BANK_BYTES).fill(0xff);
  const parts = banks.map((bank) =>
    bank === null ? erased() : buildBank(bank.image, bank.version, BANK_BYTES),
  );
  return { code: rom, banksAndVars: Buffer.concat([...parts, ovmfVars]) };
}
