/** Command descriptor blocks, and answers with numbers of several bytes: SPC-4, SBC-3, MMC-6. */
import { be16, be32, be64, bytes, packed, u8 } from "../../../base/layout.ts";

/** REQUEST SENSE and MODE SENSE(6). */
export const Cdb6 = packed("CDB of 6 bytes", "SPC-4, 4.2.2", {
  operation: u8,
  flags: u8,
  page: u8,
  subpage: u8,
  length: u8,
  control: u8,
});
export const CdbInquiry = packed("INQUIRY", "SPC-4, 6.4", {
  operation: u8,
  flags: u8,
  page: u8,
  length: be16,
  control: u8,
});
/** START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL. */
export const CdbAction = packed("START STOP UNIT", "MMC-6, 6.42", {
  operation: u8,
  immediate: u8,
  reserved: bytes(2),
  action: u8,
  control: u8,
});
export const Cdb10 = packed("CDB of 10 bytes", "SPC-4, 4.2.2", {
  operation: u8,
  flags: u8,
  lba: be32,
  track: u8,
  length: be16,
  control: u8,
});
/** MODE SENSE(10), READ TOC and GET CONFIGURATION: the third byte or two of Cdb10 are something else. */
export const CdbPage = packed("MODE SENSE(10)", "SPC-4, 6.12", { operation: u8, flags: u8, page: u8 });
export const CdbConfiguration = packed("GET CONFIGURATION", "MMC-6, 6.5", {
  operation: u8,
  flags: u8,
  feature: be16,
});
export const CdbEvent = packed("GET EVENT STATUS NOTIFICATION", "MMC-6, 6.6", {
  operation: u8,
  flags: u8,
  reserved: bytes(2),
  classes: u8,
});
export const Cdb12 = packed("CDB of 12 bytes", "SPC-4, 4.2.2", {
  operation: u8,
  flags: u8,
  lba: be32,
  length: be32,
});
export const Cdb16 = packed("CDB of 16 bytes", "SPC-4, 4.2.2", {
  operation: u8,
  flags: u8,
  lba: be64,
  length: be32,
});

export const Capacity10 = packed("READ CAPACITY(10) data", "SBC-3, 5.15", {
  lastBlock: be32,
  blockBytes: be32,
});
export const Capacity16 = packed("READ CAPACITY(16) data", "SBC-3, 5.16", {
  lastBlock: be64,
  blockBytes: be32,
  rest: bytes(20),
});
