/**
 * The event loop of a process: epoll for descriptors, one timerfd for all timers, one eventfd for calls from vCPU
 * threads.
 *
 * It gives the runtime lock back only while it waits. vCPU threads run TypeScript meanwhile and may call `after`,
 * `watch` and `post`: timers and descriptors change the kernel's objects, which wakes the wait by itself, and a call
 * posted while the main thread waits signals the eventfd. Callbacks themselves always run on the main thread.
 */
import { monotonicMs } from "./clock.ts";
import { check, EINTR } from "./errno.ts";
import { createEventFd, drainEventFd, signalEventFd } from "./eventfd.ts";
import { SYS } from "./syscall-numbers.ts";
import { TimerQueue } from "./timers.ts";

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
/** Reported whether asked for or not. */
export const EPOLLERR = 0x008;
/** Reported whether asked for or not: both directions are closed. */
export const EPOLLHUP = 0x010;
/** The peer sends no more. */
export const EPOLLRDHUP = 0x2000;
/** Report changes only. */
export const EPOLLET = 0x8000_0000;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const TFD_FLAGS = 0o2004000; // TFD_CLOEXEC | TFD_NONBLOCK
const TFD_TIMER_ABSTIME = 1;
const CLOCK_MONOTONIC = 1;

/** struct epoll_event is packed on x86-64: events (u32), then the watch's token (u64, low word used). */
const EVENT_WORDS = 3;
/** Events taken per wait: bounds how long timers and posted calls wait behind descriptors. */
const EVENTS_PER_WAIT = 64;
const TIMER_TOKEN = 1;
const WAKE_TOKEN = 2;

/** A descriptor being watched. */
export interface Watch {
  /** Changes what is waited for; 0 stops reports altogether (also errors and hang-ups). */
  setEvents(events: number): void;
  /** Ends it. To be called before the descriptor is closed. No report comes after it. */
  close(): void;
}

class DescriptorWatch implements Watch {
  #registered = false;
  #events = 0;

  constructor(
    readonly loop: EventLoop,
    readonly fd: number,
    readonly token: number,
    readonly callback: (events: number) => void,
  ) {}

  setEvents(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    const operation = events === 0 ? EPOLL_CTL_DEL : this.#registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    this.#registered = events !== 0;
    this.loop.control(operation, this.fd, events, this.token);
  }

  close(): void {
    this.setEvents(0);
    this.loop.forget(this.token);
  }
}

export class EventLoop {
  /**
   * Receives what a callback throws. Without it the exception leaves `run` and, uncaught, ends the process with its
   * stack.
   */
  onError: ((error: unknown) => void) | null = null;

  readonly #epollFd: number;
  readonly #timerFd: number;
  readonly #wakeFd: number;
  readonly #watches = new Map<number, DescriptorWatch>();
  readonly #timers = new TimerQueue();
  readonly #events = new Uint32Array(EVENTS_PER_WAIT * EVENT_WORDS);
  readonly #control = new Uint32Array(EVENT_WORDS);
  /** struct itimerspec: interval, then first expiry; each seconds and nanoseconds as two words. */
  readonly #timerSpec = new Uint32Array(8);
  #nextToken = WAKE_TOKEN + 1;
  #posted: (() => void)[] = [];
  #armedForMs = Number.POSITIVE_INFINITY;
  #waiting = false;
  #stopped = false;
  #status = 0;

  constructor() {
    this.#epollFd = check(bridge.syscall(SYS.epoll_create1, EPOLL_CLOEXEC), "epoll_create1");
    this.#timerFd = check(bridge.syscall(SYS.timerfd_create, CLOCK_MONOTONIC, TFD_FLAGS), "timerfd_create");
    this.#wakeFd = createEventFd();
    // Edge-triggered: setting the timer anew takes a past expiry back, so nobody needs to read it.
    this.control(EPOLL_CTL_ADD, this.#timerFd, EPOLLIN | EPOLLET, TIMER_TOKEN);
    this.control(EPOLL_CTL_ADD, this.#wakeFd, EPOLLIN, WAKE_TOKEN);
  }

  /** Calls back with the EPOLL* bits that hold, as long as one of `events` does. The descriptor stays the caller's. */
  watch(fd: number, events: number, callback: (events: number) => void): Watch {
    const watch = new DescriptorWatch(this, fd, this.#nextToken++, callback);
    watch.setEvents(events);
    this.#watches.set(watch.token, watch);
    return watch;
  }

  /** Calls back once after `delayMs`. The returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void {
    const timer = this.#timers.add(monotonicMs() + Math.max(0, delayMs), callback);
    this.#arm();
    return () => this.#timers.cancel(timer);
  }

  /** Calls back every `periodMs`, counted from now without drift; periods missed are skipped. Returns its cancel. */
  every(periodMs: number, callback: () => void): () => void {
    let dueMs = monotonicMs() + periodMs;
    const tick = () => {
      const lateMs = Math.max(0, monotonicMs() - dueMs);
      dueMs += periodMs * (1 + Math.floor(lateMs / periodMs));
      timer = this.#timers.add(dueMs, tick);
      this.#arm();
      callback();
    };
    let timer = this.#timers.add(dueMs, tick);
    this.#arm();
    return () => this.#timers.cancel(timer);
  }

  /** Resolves after `ms`. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
  }

  /** Calls back on the main thread, soon. May be called on any thread that runs TypeScript. */
  post(callback: () => void): void {
    this.#posted.push(callback);
    this.#wake();
  }

  /** Makes `run` return `status` when the present batch of callbacks is done. */
  stop(status = 0): void {
    this.#stopped = true;
    this.#status = status;
    this.#wake();
  }

  /** Handles events until `stop`; returns its status. To be called on the main thread. */
  run(): number {
    this.#stopped = false;
    bridge.runJobs();
    while (!this.#stopped) this.#turn();
    return this.#status;
  }

  /** Releases the loop's own descriptors. Watched ones stay open. */
  close(): void {
    for (const fd of [this.#epollFd, this.#timerFd, this.#wakeFd]) bridge.syscall(SYS.close, fd);
  }

  /** For watches: changes the kernel's interest list. */
  control(operation: number, fd: number, events: number, token: number): void {
    this.#control[0] = events;
    this.#control[1] = token;
    this.#control[2] = 0;
    check(
      bridge.syscall(SYS.epoll_ctl, this.#epollFd, operation, fd, this.#control),
      "epoll_ctl",
      `fd ${fd}`,
    );
  }

  /** For watches: drops one, also from events already taken from the kernel. */
  forget(token: number): void {
    this.#watches.delete(token);
  }

  #turn(): void {
    const count = this.#wait();
    for (let i = 0; i < count; i++) {
      const token = this.#events[i * EVENT_WORDS + 1] as number;
      if (token === WAKE_TOKEN) {
        drainEventFd(this.#wakeFd);
      } else if (token === TIMER_TOKEN) {
        this.#armedForMs = Number.POSITIVE_INFINITY;
        this.#runTimers();
      } else {
        const watch = this.#watches.get(token);
        if (watch !== undefined) this.#call(watch.callback, this.#events[i * EVENT_WORDS] as number);
      }
    }
    this.#runPosted();
    bridge.runJobs();
  }

  /** Waits for events, without the lock when there is nothing to do meanwhile. */
  #wait(): number {
    const idle = this.#posted.length === 0;
    this.#waiting = idle;
    const call = idle ? "syscallBlocking" : "syscall";
    const result = bridge[call](SYS.epoll_wait, this.#epollFd, this.#events, EVENTS_PER_WAIT, idle ? -1 : 0);
    this.#waiting = false;
    return result === -EINTR ? 0 : check(result, "epoll_wait");
  }

  #runTimers(): void {
    const nowMs = monotonicMs();
    for (
      let callback = this.#timers.takeDue(nowMs);
      callback !== null;
      callback = this.#timers.takeDue(nowMs)
    ) {
      this.#call(callback, 0);
    }
    this.#arm();
  }

  #runPosted(): void {
    if (this.#posted.length === 0) return;
    const batch = this.#posted; // what these post comes in the next turn, after descriptors had theirs
    this.#posted = [];
    for (const callback of batch) this.#call(callback, 0);
  }

  #call(callback: (events: number) => void, events: number): void {
    if (this.onError === null) {
      callback(events);
      return;
    }
    try {
      callback(events);
    } catch (error) {
      this.onError(error);
    }
  }

  /** Sets the timerfd to the earliest timer, unless it is set so already. */
  #arm(): void {
    const dueMs = this.#timers.nextMs();
    if (dueMs >= this.#armedForMs) return; // at worst it fires for a timer that was cancelled
    this.#armedForMs = dueMs;
    const seconds = Math.floor(dueMs / 1000);
    this.#timerSpec[4] = seconds;
    this.#timerSpec[5] = Math.floor(seconds / 2 ** 32);
    this.#timerSpec[6] = Math.min(999_999_999, Math.ceil((dueMs - seconds * 1000) * 1e6));
    check(
      bridge.syscall(SYS.timerfd_settime, this.#timerFd, TFD_TIMER_ABSTIME, this.#timerSpec, null),
      "timerfd_settime",
    );
  }

  #wake(): void {
    if (!this.#waiting) return;
    this.#waiting = false; // one signal is enough
    signalEventFd(this.#wakeFd);
  }
}
