/** How little memory a VM with UEFI firmware may have: known to the host agent and to the VMM. */
import { MiB } from "./addresses.ts";

/**
 * Debian 12's OVMF with one CPU starts a disk with 44 MiB, cannot with 42, and says nothing at all with 30 (measured).
 * More CPUs and devices need more, and what the firmware starts needs some too.
 */
export const FIRMWARE_MEMORY_MIN = 64 * MiB;
/** Follows the field's name. */
export const FIRMWARE_MEMORY_RULE = "must be at least 64 MiB (67108864) for UEFI firmware";
