/** What an executable in firmware runs on: PE32 images, and TE images, whose header is a shortened one. */
import { ThimbleError } from "../../base/errors.ts";
import { ascii, bytes, packed, u16, u32 } from "../../base/layout.ts";
import { SECTION_TYPE_PE32, SECTION_TYPE_TE } from "./format.ts";
import type { FirmwareFile, Section } from "./tree.ts";

const dosHeader = packed("IMAGE_DOS_HEADER", "PE/COFF, MS-DOS stub", {
  signature: ascii(2),
  unused: bytes(58),
  peOffset: u32,
});

const peHeader = packed("PE signature and COFF file header", "PE/COFF, COFF file header", {
  signature: ascii(4),
  machine: u16,
});

const teHeader = packed("EFI_TE_IMAGE_HEADER", "PI 1.8, volume 1, 15.1", {
  signature: ascii(2),
  machine: u16,
});

/** IMAGE_FILE_MACHINE_*, by the names that UEFI gives them. */
const machineNames: ReadonlyMap<number, string> = new Map([
  [0x14c, "IA32"],
  [0x8664, "X64"],
  [0x1c2, "ARM"],
  [0xaa64, "AArch64"],
  [0x5064, "RISC-V 64"],
  [0x6264, "LoongArch64"],
  [0xebc, "EFI byte code"],
]);

/** "X64", or the number of a machine not known. */
export function machineName(machine: number): string {
  return machineNames.get(machine) ?? `0x${machine.toString(16)}`;
}

/** The machine of a PE image; undefined when it is none. */
export function peMachine(data: Uint8Array): number | undefined {
  if (data.length < dosHeader.size) return undefined;
  const { signature, peOffset } = dosHeader.decode(data);
  if (signature !== "MZ" || peOffset + peHeader.size > data.length) return undefined;
  const header = peHeader.decode(data, peOffset);
  return header.signature === "PE" ? header.machine : undefined;
}

/** The machine of a TE image; undefined when it is none. */
function teMachine(data: Uint8Array): number | undefined {
  if (data.length < teHeader.size) return undefined;
  const { signature, machine } = teHeader.decode(data);
  return signature === "VZ" ? machine : undefined;
}

/** The machine of the first executable in a file's sections. */
export function fileMachine({ content }: FirmwareFile): number | undefined {
  return content instanceof Uint8Array ? undefined : sectionsMachine(content);
}

function sectionsMachine(sections: readonly Section[]): number | undefined {
  for (const section of sections) {
    let machine: number | undefined;
    if (section.kind === "encapsulation") machine = sectionsMachine(section.children);
    else if (section.kind === "leaf" && section.type === SECTION_TYPE_PE32) machine = peMachine(section.data);
    else if (section.kind === "leaf" && section.type === SECTION_TYPE_TE) machine = teMachine(section.data);
    if (machine !== undefined) return machine;
  }
  return undefined;
}

/** The machine that an image is for. Errors: `not_an_efi_program`. */
export function programMachine(image: Uint8Array): number {
  const machine = peMachine(image);
  if (machine !== undefined) return machine;
  throw new ThimbleError("not_an_efi_program", "The image is not an EFI program: it has no PE header.");
}
