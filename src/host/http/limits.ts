/** How long and how much a client may. Times in milliseconds; tests shorten them. */
export interface ServerLimits {
  /** Connections at once: each may hold a buffer of 64 KiB and more. */
  readonly connectionsMax: number;
  /** Without a request. */
  readonly idleMs: number;
  /** For a whole request head, from its first byte. */
  readonly headMs: number;
  /** Without a byte of the body that is waited for. */
  readonly bodyMs: number;
  /** Until the kernel takes a piece of the answer. */
  readonly writeMs: number;
  /** For the client to close after an answer that ends the connection. */
  readonly lingerMs: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  connectionsMax: 256,
  idleMs: 75_000,
  headMs: 15_000,
  bodyMs: 30_000,
  writeMs: 30_000,
  lingerMs: 3000,
};
