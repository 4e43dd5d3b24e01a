/** eventfd(2): a counter in the kernel that wakes whoever waits for it; KVM's irqfd and ioeventfd are such. */
import { check, EAGAIN } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** The 8-byte counter that read and write carry, as two words; one for all, as only one thread runs at a time. */
const counter = new Uint32Array(2);

/** A new eventfd: close-on-exec, never blocking. */
export function createEventFd(): number {
  return check(bridge.syscall(SYS.eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd2");
}

/** Adds one to the counter. An overflowing counter is not an error: the reader is woken in any case. */
export function signalEventFd(fd: number): void {
  counter[0] = 1;
  counter[1] = 0;
  const result = bridge.syscall(SYS.write, fd, counter, 8);
  if (result !== -EAGAIN) check(result, "write", "eventfd");
}

/** Takes the counter back to zero. Returns what it was; zero when nobody has signalled. */
export function drainEventFd(fd: number): number {
  const result = bridge.syscall(SYS.read, fd, counter, 8);
  if (result === -EAGAIN) return 0;
  check(result, "read", "eventfd");
  return (counter[0] as number) + (counter[1] as number) * 2 ** 32;
}
