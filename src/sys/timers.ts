/** Timers ordered by when they are due: a binary heap, so that thousands cost no more than a few. */

/** One timer; its fields are the queue's own. */
export interface Timer {
  dueMs: number;
  /** Keeps timers due at the same time in the order they were added. */
  sequence: number;
  /** null once it was cancelled or taken. */
  callback: (() => void) | null;
}

function before(a: Timer, b: Timer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
}

export class TimerQueue {
  readonly #heap: Timer[] = [];
  #sequence = 0;
  #cancelled = 0;

  add(dueMs: number, callback: () => void): Timer {
    const timer: Timer = { dueMs, sequence: this.#sequence++, callback };
    this.#heap.push(timer);
    this.#up(this.#heap.length - 1);
    return timer;
  }

  /** Takes a timer back; nothing happens when it was taken or cancelled before. */
  cancel(timer: Timer): void {
    if (timer.callback === null) return;
    timer.callback = null;
    this.#cancelled++;
    // Cancelled ones leave when they get to the top, or all at once when they are the most.
    if (this.#cancelled > 32 && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  /** When the earliest timer is due; infinity when there is none. */
  nextMs(): number {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Removes the earliest timer that is due at `nowMs` and returns its callback; null when none is. */
  takeDue(nowMs: number): (() => void) | null {
    this.#dropCancelled();
    const first = this.#heap[0];
    if (first === undefined || first.dueMs > nowMs) return null;
    this.#removeFirst();
    const callback = first.callback;
    first.callback = null;
    return callback;
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]?.callback === null) {
      this.#removeFirst();
      this.#cancelled--;
    }
  }

  #sweep(): void {
    const live = this.#heap.filter((timer) => timer.callback !== null);
    this.#heap.length = 0;
    this.#cancelled = 0;
    for (const timer of live) {
      this.#heap.push(timer);
      this.#up(this.#heap.length - 1);
    }
  }

  #removeFirst(): void {
    const last = this.#heap.pop() as Timer;
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down();
  }

  #up(index: number): void {
    const heap = this.#heap;
    const timer = heap[index] as Timer;
    let at = index;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as Timer;
      if (!before(timer, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = timer;
  }

  #down(): void {
    const heap = this.#heap;
    const timer = heap[0] as Timer;
    let at = 0;
    for (;;) {
      let childAt = at * 2 + 1;
      if (childAt >= heap.length) break;
      if (childAt + 1 < heap.length && before(heap[childAt + 1] as Timer, heap[childAt] as Timer)) childAt++;
      const child = heap[childAt] as Timer;
      if (!before(child, timer)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = timer;
  }
}
