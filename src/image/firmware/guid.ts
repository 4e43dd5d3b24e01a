/** GUIDs as UEFI stores them (UEFI 2.10, appendix A): the first three groups little-endian, the rest as written. */
import { ThimbleError } from "../../base/errors.ts";
import { array, type FieldType, packed, u8, u16, u32 } from "../../base/layout.ts";

const efiGuid = packed("EFI_GUID", "UEFI 2.10, appendix A", {
  data1: u32,
  data2: u16,
  data3: u16,
  data4: array(u8, 8),
});

/** The usual text form in upper case: 7C04A583-9E3E-4F1C-AD65-E05268D0B4D1. */
export type Guid = string;

const textForm = /^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/;

const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, "0");

/** A GUID field of a structure. Errors on writing: `bad_guid`. */
export const guid: FieldType<Guid> = {
  size: efiGuid.size,
  align: 4,
  zero: "00000000-0000-0000-0000-000000000000",
  read(view, at) {
    const { data1, data2, data3, data4 } = efiGuid.read(view, at);
    const tail = data4.map((byte) => hex(byte, 2)).join("");
    return `${hex(data1, 8)}-${hex(data2, 4)}-${hex(data3, 4)}-${tail.slice(0, 4)}-${tail.slice(4)}`;
  },
  write(view, at, value) {
    const text = value.toUpperCase();
    if (!textForm.test(text)) throw new ThimbleError("bad_guid", `"${value}" is not a GUID.`);
    const [data1, data2, data3, clock, node] = text.split("-") as [string, string, string, string, string];
    const tail = clock + node;
    efiGuid.write(view, at, {
      data1: Number.parseInt(data1, 16),
      data2: Number.parseInt(data2, 16),
      data3: Number.parseInt(data3, 16),
      data4: Array.from({ length: 8 }, (_, i) => Number.parseInt(tail.slice(2 * i, 2 * i + 2), 16)),
    });
  },
};
