/**
 * Fixed ACPI Description Table, revision 6 (ACPI 6.5, 5.2.9): classic fixed hardware, not the hardware-reduced model,
 * because the power button and the PM timer of devices/acpi-pm are what every guest knows.
 *
 * There is no system management mode, so SMI_CMD is 0 and ACPI is always on; no general-purpose events, so both GPE
 * blocks are empty. The reset register and all blocks are I/O ports.
 */
import { ascii, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { RESET_VALUE } from "../devices/reset/reset-control.ts";
import { Register as RtcRegister } from "../devices/rtc/bits.ts";
import { AcpiPmOffset, Gsi, Port } from "../platform.ts";
import { AccessSize, AddressSpace, buildTable, GenericAddress } from "./table.ts";

/** What follows the common header. */
export const FadtBody = packed("FADT", "ACPI 6.5, 5.2.9", {
  firmware_ctrl: u32,
  dsdt: u32,
  reserved1: u8,
  preferred_pm_profile: u8,
  sci_int: u16,
  smi_cmd: u32,
  acpi_enable: u8,
  acpi_disable: u8,
  s4bios_req: u8,
  pstate_cnt: u8,
  pm1a_evt_blk: u32,
  pm1b_evt_blk: u32,
  pm1a_cnt_blk: u32,
  pm1b_cnt_blk: u32,
  pm2_cnt_blk: u32,
  pm_tmr_blk: u32,
  gpe0_blk: u32,
  gpe1_blk: u32,
  pm1_evt_len: u8,
  pm1_cnt_len: u8,
  pm2_cnt_len: u8,
  pm_tmr_len: u8,
  gpe0_blk_len: u8,
  gpe1_blk_len: u8,
  gpe1_base: u8,
  cst_cnt: u8,
  p_lvl2_lat: u16,
  p_lvl3_lat: u16,
  flush_size: u16,
  flush_stride: u16,
  duty_offset: u8,
  duty_width: u8,
  day_alrm: u8,
  mon_alrm: u8,
  century: u8,
  iapc_boot_arch: u16,
  reserved2: u8,
  flags: u32,
  reset_reg: GenericAddress,
  reset_value: u8,
  arm_boot_arch: u16,
  minor_version: u8,
  x_firmware_ctrl: u64,
  x_dsdt: u64,
  x_pm1a_evt_blk: GenericAddress,
  x_pm1b_evt_blk: GenericAddress,
  x_pm1a_cnt_blk: GenericAddress,
  x_pm1b_cnt_blk: GenericAddress,
  x_pm2_cnt_blk: GenericAddress,
  x_pm_tmr_blk: GenericAddress,
  x_gpe0_blk: GenericAddress,
  x_gpe1_blk: GenericAddress,
  sleep_control_reg: GenericAddress,
  sleep_status_reg: GenericAddress,
  hypervisor_vendor_identity: ascii(8),
});

/** Fixed feature flags (table 5.10). */
export const FadtFlag = {
  /** WBINVD works. */
  Wbinvd: 1 << 0,
  /** C1 on all processors. */
  ProcC1: 1 << 2,
  /** Clear in our table: the power button is fixed hardware. */
  PowerButtonIsDevice: 1 << 4,
  SleepButtonIsDevice: 1 << 5,
  /** The clock cannot wake through fixed hardware. */
  FixRtc: 1 << 6,
  /** The PM timer has 32 bits. */
  TimerExtended: 1 << 8,
  ResetRegisterSupported: 1 << 10,
} as const;

/** IA-PC boot architecture flags (table 5.11). The 8042 flag stays clear: nothing is plugged into ours. */
export const BootArchitecture = { LegacyDevices: 1 << 0, Has8042: 1 << 1, VgaNotPresent: 1 << 2 } as const;

const REVISION = 6;
const MINOR_VERSION = 5;
/** Values above 100 and 1000 µs say that C2 and C3 do not exist. */
const NO_C2 = 0xfff;
const NO_C3 = 0xfff;
const PM1_EVENT_BYTES = 4;
const PM1_CONTROL_BYTES = 2;
const PM_TIMER_BYTES = 4;

export function buildFadt(facsAddress: number, dsdtAddress: number): Uint8Array {
  const event = Port.acpiPm.start + AcpiPmOffset.pm1Event;
  const control = Port.acpiPm.start + AcpiPmOffset.pm1Control;
  const timer = Port.acpiPm.start + AcpiPmOffset.pmTimer;
  const body = FadtBody.encode({
    firmware_ctrl: facsAddress,
    dsdt: dsdtAddress,
    sci_int: Gsi.sci,
    pm1a_evt_blk: event,
    pm1a_cnt_blk: control,
    pm_tmr_blk: timer,
    pm1_evt_len: PM1_EVENT_BYTES,
    pm1_cnt_len: PM1_CONTROL_BYTES,
    pm_tmr_len: PM_TIMER_BYTES,
    p_lvl2_lat: NO_C2,
    p_lvl3_lat: NO_C3,
    century: RtcRegister.Century,
    iapc_boot_arch: BootArchitecture.LegacyDevices | BootArchitecture.VgaNotPresent,
    flags:
      FadtFlag.Wbinvd |
      FadtFlag.ProcC1 |
      FadtFlag.SleepButtonIsDevice |
      FadtFlag.FixRtc |
      FadtFlag.TimerExtended |
      FadtFlag.ResetRegisterSupported,
    reset_reg: ioRegister(Port.resetControl.start, 1, AccessSize.Byte),
    reset_value: RESET_VALUE,
    minor_version: MINOR_VERSION,
    x_dsdt: dsdtAddress,
    x_pm1a_evt_blk: ioRegister(event, PM1_EVENT_BYTES, AccessSize.Word),
    x_pm1a_cnt_blk: ioRegister(control, PM1_CONTROL_BYTES, AccessSize.Word),
    x_pm_tmr_blk: ioRegister(timer, PM_TIMER_BYTES, AccessSize.DWord),
    hypervisor_vendor_identity: "THIMBLE",
  });
  return buildTable("FACP", REVISION, body);
}

function ioRegister(port: number, sizeBytes: number, accessSize: number) {
  return {
    address_space_id: AddressSpace.SystemIo,
    register_bit_width: sizeBytes * 8,
    register_bit_offset: 0,
    access_size: accessSize,
    address: port,
  };
}
