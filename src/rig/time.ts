/** Waiting with limits. */
import { ThimbleError } from "../base/errors.ts";

/** Waits `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * The promise's result, or error `timed_out` saying that `what` took longer than `ms`.
 * The promise itself goes on; a later rejection of it is swallowed.
 */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ThimbleError("timed_out", `${what} took longer than ${Math.round(ms / 100) / 10} s.`)),
      ms,
    );
  });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `probe` every `everyMs` until it gives something other than undefined, or fails with `timed_out`. */
export async function eventually<T>(
  ms: number,
  what: string,
  probe: () => Promise<T | undefined>,
  everyMs = 200,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > end) {
      throw new ThimbleError("timed_out", `${what} did not happen within ${ms / 1000} s.`);
    }
    await sleep(everyMs);
  }
}
