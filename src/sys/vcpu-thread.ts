/** Threads that sit in one ioctl: vCPUs in KVM_RUN. `interruptThread` of process.ts makes the ioctl return. */

/**
 * Starts a thread that repeats ioctl(fd, request, 0) without the runtime lock and calls `handler` with each result (or
 * negative errno) under it, until the handler returns non-zero. Returns the thread's id.
 */
export function startIoctlThread(fd: number, request: number, handler: (result: number) => number): number {
  return bridge.startIoctlThread(fd, request, handler);
}
