/**
 * What the host agent needs of the machine it runs on: the kernel in the image (linux.ts), Node under the unit-test
 * runner (testing/test-platform.ts). Calls that fail throw SystemError with the kernel's errno.
 */
import type { Logger } from "../../sys/log.ts";

/** A byte stream to a peer. */
export interface Connection {
  /** For logs. */
  readonly remote: string;
  /** The next bytes; null at the end. One read at a time. Rejects when the connection broke. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when all of it was taken. Rejects when the connection broke or was closed. */
  write(data: Uint8Array): Promise<void>;
  /** Sends no more; reading goes on. */
  end(): void;
  /** Closes at once: a waiting read gives null, waiting writes reject. May be called again. */
  close(): void;
}

export interface Listening {
  readonly port: number;
  close(): void;
}

export interface FileInfo {
  readonly kind: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly createdMs: number;
}

/** Files by path and by descriptor; the same calls as src/sys/fs.ts. */
export interface Files {
  readText(path: string): string;
  replaceFile(path: string, content: string | Uint8Array, mode?: number): void;
  makeDirectories(path: string, mode?: number): void;
  readDirectory(path: string): { readonly name: string }[];
  tryStat(path: string): FileInfo | null;
  removeTree(path: string): void;
  rename(from: string, to: string): void;
  tryUnlink(path: string): boolean;
  open(path: string, flags: number, mode?: number): number;
  close(fd: number): void;
  pread(fd: number, target: Uint8Array, offset: number): number;
  writeAll(fd: number, source: Uint8Array): void;
  ftruncate(fd: number, sizeBytes: number): void;
  /** Free space of the filesystem that holds the path. */
  freeBytes(path: string): number;
}

/** How a process ended; `unknown` for one that was not this process's child. */
export type ProcessEnd =
  | { readonly exitCode: number }
  | { readonly signal: number }
  | { readonly unknown: true };

export interface ManagedProcess {
  readonly pid: number;
  /** Sends a signal; says whether the process was there. */
  kill(signal: number): boolean;
  /** Resolves when the process has ended. */
  readonly ended: Promise<ProcessEnd>;
}

export interface Platform {
  readonly files: Files;
  readonly log: Logger;
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Milliseconds since power-on. */
  uptimeMs(): number;
  /** Calls back once; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
  /** `count` random bytes in lower-case hexadecimal. */
  randomHex(count: number): string;
  listenTcp(
    address: string,
    port: number,
    onConnection: (connection: Connection) => void,
  ): Promise<Listening>;
  connectUnix(path: string): Promise<Connection>;
  /** Starts a program without input, its output appended to `logPath`. */
  spawn(argv: readonly string[], logPath: string): ManagedProcess;
  /** Takes charge of a process that a former agent started; null when there is none with this id. */
  adopt(pid: number): ManagedProcess | null;
}

/** Resolves after `ms`. */
export function sleep(platform: Pick<Platform, "after">, ms: number): Promise<void> {
  return new Promise((resolve) => {
    platform.after(ms, resolve);
  });
}

/** What `promise` resolves to, or null when that takes longer than `ms`. */
export function within<T>(
  platform: Pick<Platform, "after">,
  ms: number,
  promise: Promise<T>,
): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const cancel = platform.after(ms, () => resolve(null));
    promise.then(resolve, reject).finally(cancel);
  });
}

/** The wall clock as the API gives it: ISO 8601 in UTC. */
export function timestamp(platform: Pick<Platform, "wallMs">): string {
  return new Date(Math.floor(platform.wallMs())).toISOString();
}
