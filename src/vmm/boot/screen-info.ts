/** What a boot loader tells Linux of the picture that it left on the screen (include/uapi/linux/screen_info.h). */
import { bytes, packed, u8, u16, u32 } from "../../base/layout.ts";

/** A picture of 32-bit pixels, blue in the lowest byte, in one piece of memory. */
export interface LinearScreen {
  readonly address: number;
  readonly sizeBytes: number;
  readonly width: number;
  readonly height: number;
}

export const ScreenInfo = packed("screen_info", "linux/screen_info.h", {
  orig_x: u8,
  orig_y: u8,
  ext_mem_k: u16,
  orig_video_page: u16,
  orig_video_mode: u8,
  orig_video_cols: u8,
  flags: u8,
  unused2: u8,
  orig_video_ega_bx: u16,
  unused3: u16,
  orig_video_lines: u8,
  orig_video_isVGA: u8,
  orig_video_points: u16,
  lfb_width: u16,
  lfb_height: u16,
  lfb_depth: u16,
  lfb_base: u32,
  lfb_size: u32,
  cl_magic: u16,
  cl_offset: u16,
  lfb_linelength: u16,
  red_size: u8,
  red_pos: u8,
  green_size: u8,
  green_pos: u8,
  blue_size: u8,
  blue_pos: u8,
  rsvd_size: u8,
  rsvd_pos: u8,
  vesapm_seg: u16,
  vesapm_off: u16,
  pages: u16,
  vesa_attributes: u16,
  capabilities: u32,
  ext_lfb_base: u32,
  reserved: bytes(2),
});

/**
 * A linear framebuffer that firmware has set up. The other kind, VESA's, would suit as well, but Debian's cloud kernels
 * have no driver for it.
 */
const VIDEO_TYPE_EFI = 0x70;
const PIXEL_BYTES = 4;

export function screenInfo(screen: LinearScreen): Partial<ReturnType<typeof ScreenInfo.decode>> {
  return {
    orig_video_isVGA: VIDEO_TYPE_EFI,
    lfb_width: screen.width,
    lfb_height: screen.height,
    lfb_depth: PIXEL_BYTES * 8,
    lfb_base: screen.address,
    lfb_size: screen.sizeBytes,
    lfb_linelength: screen.width * PIXEL_BYTES,
    red_size: 8,
    red_pos: 16,
    green_size: 8,
    green_pos: 8,
    blue_size: 8,
    rsvd_size: 8,
    rsvd_pos: 24,
  };
}
