/**
 * The runtime bridge as TypeScript sees it: all that runtime/ (C) adds to the engine.
 *
 * It is generic: system calls, raw memory, threads for vCPUs. What it is used for is decided above it.
 * Only files in src/sys touch it.
 */

/**
 * A system call argument: a number (sign-extended to 64 bits; whole numbers up to 2^53), or memory, passed as the
 * address of its first byte. `null` is a null pointer.
 */
export type SyscallArgument = number | ArrayBuffer | ArrayBufferView | null;

export interface Bridge {
  /** Command line: argv[0], argv[1], … */
  readonly args: readonly string[];

  /**
   * Makes a system call while holding the runtime lock: for calls that do not wait.
   * Returns its result, or a negative errno. A failure is never thrown.
   */
  syscall(number: number, ...args: SyscallArgument[]): number;

  /** The same with the runtime lock given back meanwhile, so that vCPU threads may run TypeScript. */
  syscallBlocking(number: number, ...args: SyscallArgument[]): number;

  /** A view of raw memory that the caller keeps mapped for as long as the buffer is used; at most 2^31 - 1 bytes. */
  view(address: number, byteLength: number): ArrayBuffer;

  /** The address of the first byte of a buffer or view. */
  addressOf(memory: ArrayBuffer | ArrayBufferView): number;

  /** Makes a buffer from `view` zero-length, before its memory is unmapped. */
  detach(buffer: ArrayBuffer): void;

  /** UTF-8 bytes to string; malformed sequences become U+FFFD. */
  utf8Decode(bytes: Uint8Array): string;

  /** String to UTF-8 bytes. */
  utf8Encode(text: string): Uint8Array<ArrayBuffer>;

  /**
   * Starts a thread that loops: ioctl(fd, request, 0) without the lock; then, under the lock, `handler(result)` with
   * the ioctl's result or negative errno. The thread ends when the handler returns non-zero or throws (a throw ends
   * the process with the stack trace). Pending promise jobs run after each call. SIGUSR1 interrupts the ioctl.
   * The handler is called on that thread; returns the thread's id for tgkill.
   */
  startIoctlThread(fd: number, request: number, handler: (result: number) => number): number;

  /** Runs pending promise jobs until none is left. Returns how many ran. An exception in one ends the process. */
  runJobs(): number;

  /** Collects reference cycles now, and gives memory that is free to the kernel as far as it is whole pages. */
  gc(): void;

  /** The value of a part's script (src/image/runtime/parts.ts). Throws for a name that the build does not have. */
  loadPart(name: string): unknown;

  /** Called for a promise rejected with nobody listening; the default prints it and ends the process with status 70. */
  onUnhandledRejection?: (reason: unknown) => void;
}

declare global {
  // The engine's host defines it before the bundle runs.
  var bridge: Bridge;
}
