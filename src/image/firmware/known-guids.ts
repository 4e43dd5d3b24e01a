/** Names of GUIDs that firmware uses without naming them itself. */
import {
  FILE_SYSTEM_FFS2,
  FILE_SYSTEM_FFS3,
  SECTION_CRC32,
  SECTION_LZMA,
  SECTION_LZMA_X86,
  SECTION_TIANO,
  VOLUME_TOP_FILE,
} from "./format.ts";
import type { Guid } from "./guid.ts";

export const knownGuids: Readonly<Record<Guid, string>> = {
  [FILE_SYSTEM_FFS2]: "FFS2",
  [FILE_SYSTEM_FFS3]: "FFS3",
  "7A9354D9-0468-444A-81CE-0BF617D890DF": "FFS1",
  "FFF12B8D-7696-4C8B-A985-2747075B4F50": "NVRAM",
  [SECTION_LZMA]: "LZMA",
  [SECTION_LZMA_X86]: "LZMA with x86 filter",
  [SECTION_TIANO]: "Tiano",
  [SECTION_CRC32]: "CRC32",
  "0F9D89E8-9259-4F76-A5AF-0C89E34023DF": "signed contents",
  [VOLUME_TOP_FILE]: "volume top file",
  "FC510EE7-FFDC-11D4-BD41-0080C73C8881": "DXE a priori list",
  "1B45CC0A-156A-428A-AF62-49864DA0E6E6": "PEI a priori list",
  "9E21FD93-9C72-4C15-8C4B-E77F1DB2D792": "compressed volumes",
  "7E374E25-8E01-4FEE-87F2-390C23C606CD": "ACPI tables",
  "197DB236-F856-4924-90F8-CDF12FB875F3": "microcode",
  "7BB28B99-61BB-11D5-9A5D-0090273FC14D": "logo",
};
