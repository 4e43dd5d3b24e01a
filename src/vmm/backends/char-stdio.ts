/** A serial port on the process's own terminal, or on whatever its standard input and output are. */
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { poll, tryRead, tryWrite } from "../../sys/fs.ts";
import { EPOLLIN, EPOLLOUT, type EventLoop, type Watch } from "../../sys/loop.ts";
import { isTerminal, makeRaw } from "../../sys/terminal.ts";
import type { CharBackend } from "../contract.ts";

const STDIN = 0;
const STDOUT = 1;
/** Ctrl-]: ends the VM, as it ends telnet. */
export const ESCAPE_BYTE = 0x1d;
const INPUT_PIECE = 256;
/** How long output waits for a terminal that takes nothing before it is lost. */
const OUTPUT_PATIENCE_MS = 1000;

export class CharStdio implements CharBackend {
  #receiver: ((bytes: Uint8Array) => number) | null = null;
  #input: Uint8Array = new Uint8Array(0);
  #watch: Watch | null;
  #restore: (() => void) | null = null;

  /** `onEscape` is called when the person at the terminal types Ctrl-]. */
  constructor(loop: EventLoop, onEscape: () => void) {
    const terminal = isTerminal(STDIN);
    if (terminal) this.#restore = makeRaw(STDIN);
    try {
      this.#watch = loop.watch(STDIN, EPOLLIN, () => this.#receive(terminal ? onEscape : null));
    } catch {
      this.#watch = null; // a file or /dev/null, which epoll does not take: no input
    }
  }

  write(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0; ) {
      const taken = tryWrite(STDOUT, rest);
      if (taken >= 0) rest = rest.subarray(taken);
      else if (taken === -EAGAIN) {
        if (poll(STDOUT, EPOLLOUT, OUTPUT_PATIENCE_MS) === 0) return;
      } else if (taken !== -EINTR) return;
    }
  }

  onInput(receiver: (bytes: Uint8Array) => number): void {
    this.#receiver = receiver;
  }

  resume(): void {
    if (this.#input.length > 0) this.#offer();
  }

  /** Gives the terminal back as it was. */
  close(): void {
    this.#watch?.close();
    this.#restore?.();
    this.#restore = null;
  }

  #receive(onEscape: (() => void) | null): void {
    const buffer = new Uint8Array(INPUT_PIECE);
    const size = tryRead(STDIN, buffer);
    if (size === -EAGAIN || size === -EINTR) return;
    if (size <= 0) {
      this.#watch?.close();
      this.#watch = null;
      return;
    }
    const bytes = buffer.subarray(0, size);
    if (onEscape !== null && bytes.includes(ESCAPE_BYTE)) {
      onEscape();
      return;
    }
    this.#input = bytes;
    this.#offer();
  }

  #offer(): void {
    const taken = this.#receiver?.(this.#input) ?? this.#input.length;
    this.#input = this.#input.subarray(taken);
    this.#watch?.setEvents(this.#input.length === 0 ? EPOLLIN : 0);
  }
}
