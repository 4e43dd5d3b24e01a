/** Firmware ACPI Control Structure (ACPI 6.5, 5.2.10): the global lock, which nobody contends for here. */
import { ascii, bytes, packed, u8, u32, u64 } from "../../base/layout.ts";

export const Facs = packed("FACS", "ACPI 6.5, 5.2.10", {
  signature: ascii(4),
  length: u32,
  hardware_signature: u32,
  firmware_waking_vector: u32,
  global_lock: u32,
  flags: u32,
  x_firmware_waking_vector: u64,
  version: u8,
  reserved: bytes(3),
  ospm_flags: u32,
  reserved2: bytes(24),
});

export const FACS_ALIGN = 64;

/** Has no header like other tables and no checksum, because the guest writes into it. */
export function buildFacs(): Uint8Array {
  return Facs.encode({ signature: "FACS", length: Facs.size, version: 2 });
}
