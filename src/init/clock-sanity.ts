/**
 * The clock of a host without a time server: the kernel reads the hardware clock at start. A flat battery puts that
 * decades into the past, which breaks certificates; the image's own build time is then the better guess.
 */

/** Set by the build; absent in a development build. */
declare const THIMBLE_BUILD_MS: number | undefined;

/** The time to set, or null when the clock is plausible. */
export function correctedTime(nowMs: number, buildMs: number): number | null {
  return nowMs < buildMs ? buildMs : null;
}

/** When the image was built, in milliseconds since the epoch. */
export function buildTimeMs(): number {
  return typeof THIMBLE_BUILD_MS === "number" ? THIMBLE_BUILD_MS : 0;
}
