/** Which format an image has, by its content. For what comes from outside, once: a guest may write any header into its disk. */
import type { ImageFile } from "./image-file.ts";
import { QCOW2_MAGIC } from "./qcow2/bits.ts";
import { readHeader } from "./qcow2/header.ts";
import { VMDK_MAGIC } from "./vmdk/bits.ts";
import { VmdkImage } from "./vmdk/image.ts";

export type ImageFormat = "raw" | "qcow2" | "vmdk";

export interface ImageFacts {
  readonly format: ImageFormat;
  /** Of the disk. */
  readonly virtualSizeBytes: number;
  /** What the image says its backing file is called, and of what format. Not to be trusted. */
  readonly backing?: { readonly name: string; readonly format: string | null };
}

/** Throws ThimbleError("bad_image") for a qcow2 or VMDK image that cannot be used. */
export function probe(file: ImageFile): ImageFacts {
  const start = new Uint8Array(4);
  file.readAt(0, start);
  const words = new DataView(start.buffer);
  if (words.getUint32(0) === QCOW2_MAGIC) {
    const { sizeBytes, backing } = readHeader(file);
    return { format: "qcow2", virtualSizeBytes: sizeBytes, ...(backing === null ? {} : { backing }) };
  }
  if (words.getUint32(0, true) === VMDK_MAGIC) {
    return { format: "vmdk", virtualSizeBytes: new VmdkImage(file).sizeBytes };
  }
  return { format: "raw", virtualSizeBytes: file.sizeBytes };
}
