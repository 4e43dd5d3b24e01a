/** getrandom(2). */
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

/** Fills the target with random bytes fit for keys. Waits, once after boot, until the kernel has gathered enough. */
export function fillRandom(target: Uint8Array): void {
  for (let done = 0; done < target.length; ) {
    const rest = target.subarray(done);
    done += check(bridge.syscallBlocking(SYS.getrandom, rest, rest.length, 0), "getrandom");
  }
}

/** `count` random bytes as lower-case hexadecimal digits, for tokens and identifiers. */
export function randomHex(count: number): string {
  const bytes = new Uint8Array(count);
  fillRandom(bytes);
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** The same without giving the runtime lock back: for devices, once the kernel has gathered enough. */
export function fillRandomNow(target: Uint8Array): void {
  for (let done = 0; done < target.length; ) {
    const rest = target.subarray(done);
    done += check(bridge.syscall(SYS.getrandom, rest, rest.length, 0), "getrandom");
  }
}
