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

const EFD_SEMAPHORE = 1;

/** Where threads wait, with the runtime lock given back, until another thread lets all of them go on. */
export class ThreadGate {
  readonly #fd = check(bridge.syscall(SYS.eventfd2, 0, EFD_CLOEXEC | EFD_SEMAPHORE), "eventfd2");
  readonly #token = new Uint32Array(2);
  #waiting = 0;

  /** Returns after `open`, and now and then before (a signal): the caller looks why it waits, and comes back. */
  wait(): void {
    this.#waiting++;
    if (bridge.syscallBlocking(SYS.read, this.#fd, this.#token, 8) < 0 && this.#waiting > 0) this.#waiting--;
  }

  open(): void {
    if (this.#waiting === 0) return;
    bridge.syscall(SYS.write, this.#fd, Uint32Array.of(this.#waiting, 0), 8);
    this.#waiting = 0;
  }
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
