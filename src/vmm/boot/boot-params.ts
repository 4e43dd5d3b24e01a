/**
 * The structures of Linux's x86 boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst): the setup header in
 * a bzImage and the "zero page" it is handed over in.
 */
import { array, bytes, packed, u8, u16, u32, u64 } from "../../base/layout.ts";
import { ScreenInfo } from "./screen-info.ts";

/** Where the setup header starts, both in the file and in the zero page. */
export const SETUP_HEADER_OFFSET = 0x1f1;

export const SetupHeader = packed("setup_header", "boot.rst, The Real-Mode Kernel Header", {
  setup_sects: u8,
  root_flags: u16,
  syssize: u32,
  ram_size: u16,
  vid_mode: u16,
  root_dev: u16,
  boot_flag: u16,
  /** A short jump: opcode, then how many bytes of header follow it. */
  jump_opcode: u8,
  jump_length: u8,
  header: u32,
  version: u16,
  realmode_swtch: u32,
  start_sys_seg: u16,
  kernel_version: u16,
  type_of_loader: u8,
  loadflags: u8,
  setup_move_size: u16,
  code32_start: u32,
  ramdisk_image: u32,
  ramdisk_size: u32,
  bootsect_kludge: u32,
  heap_end_ptr: u16,
  ext_loader_ver: u8,
  ext_loader_type: u8,
  cmd_line_ptr: u32,
  initrd_addr_max: u32,
  kernel_alignment: u32,
  relocatable_kernel: u8,
  min_alignment: u8,
  xloadflags: u16,
  cmdline_size: u32,
  hardware_subarch: u32,
  hardware_subarch_data: u64,
  payload_offset: u32,
  payload_length: u32,
  setup_data: u64,
  pref_address: u64,
  init_size: u32,
  handover_offset: u32,
  kernel_info_offset: u32,
});

export const BOOT_FLAG = 0xaa55;
export const JUMP_SHORT = 0xeb;
/** "HdrS" */
export const HEADER_MAGIC = 0x5372_6448;
export const LoadFlag = { LoadedHigh: 0x01 } as const;
export const XLoadFlag = { Kernel64: 0x01 } as const;
/** A boot loader without a number of its own. */
export const LOADER_UNDEFINED = 0xff;
/** vid_mode: do not touch the display. */
export const VIDEO_NORMAL = 0xffff;

export const E820Entry = packed("boot_e820_entry", "zero-page.rst, 2D0", { addr: u64, size: u64, type: u32 });
export const E820_ENTRIES_MAX = 128;

/** struct boot_params, the fields a loader fills; the others are zero. */
export const BootParams = packed("boot_params", "zero-page.rst", {
  screen_info: ScreenInfo,
  apm_bios_info: bytes(0x14),
  _pad2: bytes(4),
  tboot_addr: u64,
  ist_info: bytes(0x10),
  acpi_rsdp_addr: u64,
  _pad3: bytes(8),
  obsolete_disks: bytes(0x20),
  sys_desc_table: bytes(0x10),
  olpc_ofw_header: bytes(0x10),
  ext_ramdisk_image: u32,
  ext_ramdisk_size: u32,
  ext_cmd_line_ptr: u32,
  _pad4: bytes(112),
  cc_blob_address: u32,
  edid_info: bytes(0x80),
  efi_info: bytes(0x20),
  alt_mem_k: u32,
  scratch: u32,
  e820_entries: u8,
  eddbuf_entries: u8,
  edd_mbr_sig_buf_entries: u8,
  kbd_status: u8,
  secure_boot: u8,
  _pad5: bytes(2),
  sentinel: u8,
  _pad6: bytes(1),
  hdr: SetupHeader,
  _pad7: bytes(0x290 - SETUP_HEADER_OFFSET - SetupHeader.size),
  edd_mbr_sig_buffer: bytes(0x40),
  e820_table: array(E820Entry, E820_ENTRIES_MAX),
  _pad8: bytes(48),
  eddbuf: bytes(0x1ec),
  _pad9: bytes(276),
});
