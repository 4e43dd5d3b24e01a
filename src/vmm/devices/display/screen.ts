/** What a viewer sees of a display adapter: its memory, where in it the picture is, and which pages were written. */

export const VIDEO_MEMORY_BYTES = 16 * 1024 * 1024;
export const PAGE_BYTES = 4096;
/** One bit a page. */
export const PAGE_BITMAP_BYTES = VIDEO_MEMORY_BYTES / PAGE_BYTES / 8;

/** A picture of 32-bit pixels, blue in the lowest byte. */
export interface ScreenMode {
  readonly width: number;
  readonly height: number;
  /** Of the first pixel, in pixels from the memory's start. */
  readonly offset: number;
  /** From one row to the next, in pixels. */
  readonly stride: number;
  /** Each pixel's bytes are the other way round. */
  readonly bigEndian: boolean;
}

export interface Screen {
  /** All of the adapter's memory. The guest writes it at any moment. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  /** Null while the guest shows no picture. The same object as long as nothing changed. */
  mode(): ScreenMode | null;
  /** Says whether writes are to be noted. What was written before is unknown. */
  watch(watching: boolean): void;
  /** Sets in `pages` (PAGE_BITMAP_BYTES) a bit for each page written since the last call, and no other. */
  takeDirty(pages: Uint8Array): void;
}

/** The adapter's memory on the host's side: in the image a memory slot of KVM, in tests a plain buffer. */
export interface VideoMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Shows it to the guest at an address; false when that is not possible there. */
  place(address: number | null): boolean;
  setLogging(logging: boolean): void;
  /** As Screen.takeDirty, for what the guest wrote by itself; may leave bits alone when it has nothing to say. */
  takeDirty(pages: Uint8Array): void;
}
