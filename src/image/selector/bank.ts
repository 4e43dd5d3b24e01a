/** A boot bank: a header and an image, as firmware/selector/selector.c reads them (docs/boot-banks.md). */
import { createHash } from "node:crypto";
import { ThimbleError } from "../../base/errors.ts";
import { ascii, bytes, packed, u32 } from "../../base/layout.ts";

export const BankHeader = packed("bank header", "docs/boot-banks.md", {
  magic: ascii(8),
  headerVersion: u32,
  imageSize: u32,
  imageVersion: ascii(32),
  reserved: bytes(16),
  digest: bytes(32),
});
const MAGIC = "THIMBANK";
const HEADER_VERSION = 1;
/** Where in a bank the image begins. */
export const IMAGE_OFFSET = 4096;
/** Flash that is erased. */
const ERASED = 0xff;

/** A bank of `bankBytes` with the image in it. Throws ThimbleError("image_does_not_fit"). */
export function buildBank(image: Uint8Array, version: string, bankBytes: number): Uint8Array {
  if (image.length > bankBytes - IMAGE_OFFSET) {
    throw new ThimbleError(
      "image_does_not_fit",
      `The image of ${image.length} bytes does not fit a bank of ${bankBytes} bytes, of which ${IMAGE_OFFSET} are its header.`,
    );
  }
  const bank = new Uint8Array(bankBytes).fill(ERASED);
  const header = BankHeader.encode({
    magic: MAGIC,
    headerVersion: HEADER_VERSION,
    imageSize: image.length,
    imageVersion: version,
  });
  const covered = header.subarray(0, BankHeader.offset.digest);
  BankHeader.patch(header, 0, { digest: createHash("sha256").update(covered).update(image).digest() });
  bank.set(header);
  bank.set(image, IMAGE_OFFSET);
  return bank;
}
