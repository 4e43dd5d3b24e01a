/** The person's terminal, attached to a guest's console. */
import type { ConsoleConnection } from "./console-connection.ts";

const controlC = 0x03;
const controlBracket = 0x1d;

/** What a person is told before the terminal is attached. */
export const escapeHelp =
  "Ctrl-C powers everything off. Ctrl-] is the escape: then q powers off, c sends Ctrl-C to the guest.";

/**
 * Splits typed bytes into what goes to the guest and whether to end. Ctrl-C ends; Ctrl-] takes the next key as a
 * command: `q` ends, `c` sends Ctrl-C, `]` sends Ctrl-] itself, anything else is dropped.
 */
export class EscapeFilter {
  #escaped = false;

  take(typed: Uint8Array): { readonly toGuest: Uint8Array; readonly end: boolean } {
    const toGuest: number[] = [];
    for (const byte of typed) {
      if (this.#escaped) {
        this.#escaped = false;
        const key = String.fromCharCode(byte);
        if (key === "q" || byte === controlC) return { toGuest: Uint8Array.from(toGuest), end: true };
        if (key === "c") toGuest.push(controlC);
        if (key === "]" || byte === controlBracket) toGuest.push(controlBracket);
      } else if (byte === controlBracket) {
        this.#escaped = true;
      } else if (byte === controlC) {
        return { toGuest: Uint8Array.from(toGuest), end: true };
      } else {
        toGuest.push(byte);
      }
    }
    return { toGuest: Uint8Array.from(toGuest), end: false };
  }
}

/**
 * Shows the console's output from position `from` on and passes what is typed to it, until the person ends it or the
 * console closes. Without a terminal as standard input, only output is shown.
 */
export function attachTerminal(
  console: ConsoleConnection,
  from: number,
  interrupted: Promise<unknown>,
): Promise<"ended by the user" | "console closed"> {
  const input = process.stdin;
  const filter = new EscapeFilter();
  process.stdout.write(console.feed.since(from));
  const unsubscribe = console.feed.subscribe((bytes) => process.stdout.write(bytes));
  let onData: (bytes: Buffer) => void = () => {};
  const user = new Promise<"ended by the user">((resolve) => {
    onData = (bytes) => {
      const { toGuest, end } = filter.take(bytes);
      if (toGuest.length > 0) console.type(toGuest);
      if (end) resolve("ended by the user");
    };
    interrupted.then(() => resolve("ended by the user"));
  });
  if (input.isTTY) {
    input.setRawMode(true);
    input.on("data", onData);
    input.resume();
  }
  return Promise.race([user, console.closed.then(() => "console closed" as const)]).finally(() => {
    unsubscribe();
    if (input.isTTY) {
      input.off("data", onData);
      input.setRawMode(false);
      input.pause();
    }
  });
}
