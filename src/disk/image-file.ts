/** What disk formats are made of: a file that is read and written anywhere, and the disk that an image of it is. */

/** A random access file. Every call throws SystemError or ThimbleError when it cannot be done. */
export interface ImageFile {
  readonly sizeBytes: number;
  /** Fills the target from `offset`; what lies beyond the file's end is zero. */
  readAt(offset: number, target: Uint8Array): void;
  /** Writes, making the file longer if need be. */
  writeAt(offset: number, data: Uint8Array): void;
  /** Everything written before is on stable storage afterwards. */
  flush(): void;
  /** The range reads as zeroes afterwards and may take no space. */
  punchHole(offset: number, length: number): void;
  truncate(sizeBytes: number): void;
  close(): void;
}

/** A disk as a guest sees it, whatever its format. Ranges lie inside `sizeBytes`: the caller's duty. */
export interface DiskImage {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readAt(offset: number, target: Uint8Array): void;
  writeAt(offset: number, data: Uint8Array): void;
  /** A hint: what is read there afterwards may be zeroes or what was there. */
  discard(offset: number, length: number): void;
  writeZeroes(offset: number, length: number): void;
  /** Every write before it survives a power cut. */
  flush(): void;
  close(): void;
}
