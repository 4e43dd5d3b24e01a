/**
 * The host's side of the boot banks (docs/boot-banks.md): a bank that was chosen on trial is confirmed once the host
 * that it holds serves its API. Until then the boot selector counts its tries and goes back to the other bank.
 */
import { packed, u8, u32 } from "../../base/layout.ts";

/** As firmware/selector/selector.c has them. */
export const VENDOR = "9d5e6a3c-4b1f-4e0a-8c57-1f7b52c4a6d3";
export const CHOICE = "ThimbleBoot";
export const RUNNING = "ThimbleBank";

/** ThimbleBoot as efivarfs shows it: which bank is wanted, and how often it may still be tried. */
export const Choice = packed("ThimbleBoot", "docs/boot-banks.md", {
  attributes: u32,
  version: u8,
  bank: u8,
  tries: u8,
  reserved: u8,
});
/** ThimbleBank as efivarfs shows it: which bank runs. */
export const Running = packed("ThimbleBank", "docs/boot-banks.md", { attributes: u32, bank: u8 });

const VERSION = 1;
const CONFIRMED = 0xff;

export interface FirmwareVariables {
  read(name: string, vendor: string): Uint8Array | null;
  replace(name: string, vendor: string, content: Uint8Array): void;
}

export type BankNews = "none" | "confirmed" | "fallen-back";

/** Confirms the bank that runs if it is the wanted one and on trial. Throws what writing the variable throws. */
export function confirmBootBank(variables: FirmwareVariables): { news: BankNews; bank: string } {
  const wanted = variables.read(CHOICE, VENDOR);
  const running = variables.read(RUNNING, VENDOR);
  if (wanted?.length !== Choice.size || running?.length !== Running.size) return { news: "none", bank: "" };
  const choice = Choice.decode(wanted);
  const { bank } = Running.decode(running);
  if (choice.version !== VERSION) return { news: "none", bank: "" };
  const name = bank === 0 ? "A" : "B";
  if (choice.bank !== bank) return { news: "fallen-back", bank: name };
  if (choice.tries === CONFIRMED) return { news: "none", bank: name };
  variables.replace(CHOICE, VENDOR, Choice.encode({ ...choice, tries: CONFIRMED }));
  return { news: "confirmed", bank: name };
}
