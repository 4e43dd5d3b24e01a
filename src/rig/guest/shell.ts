/**
 * Commands in a guest, over its console.
 *
 * Each command is framed by two marker lines with a random number, so its output and status are found whatever else
 * appears on the console before or after. The terminal's echo is switched off first; that also makes the shell
 * read plain lines without editing them.
 */
import { randomBytes } from "node:crypto";
import { ThimbleError } from "../../base/errors.ts";
import type { FeedMatch, TextFeed } from "../text-feed.ts";

/** What a guest prints when its user space is up; then its uptime in seconds. */
export const guestReadyMarker = /THIMBLE-GUEST-READY (\d+\.\d+)\r?\n/;

/** What a guest prints when it will never be ready. */
const guestLostMarker = /Kernel panic - not syncing[^\r\n]*\r?\n|THIMBLE-GUEST-FAILED[^\r\n]*\r?\n/;

/** Where a shell lives: something to type into and something to read. */
export interface ShellTerminal {
  readonly feed: TextFeed;
  type(text: string): void;
}

export interface CommandResult {
  readonly status: number;
  /** Standard output and error together, lines ended by "\n". */
  readonly output: string;
}

/** A terminal in line mode drops what is over 4095 characters in a line (n_tty). */
const lineMax = 4000;
const commandTimeoutMs = 30_000;

export class GuestShell {
  #position: number;

  private constructor(
    readonly terminal: ShellTerminal,
    position: number,
    /** Seconds of guest uptime when user space was up; undefined for shells of another kind. */
    readonly readyUptime: number | undefined,
  ) {
    this.#position = position;
  }

  /**
   * Waits for a test guest's user space and takes over its shell. `onReady` is called between the two, for who
   * measures. Errors: `guest_lost` with the console's last lines when the guest's kernel panicked or found no root, and
   * those of `TextFeed.waitFor`.
   */
  static async open(
    terminal: ShellTerminal,
    timeoutMs: number,
    from = 0,
    onReady?: () => void,
  ): Promise<GuestShell> {
    const either = new RegExp(`${guestReadyMarker.source}|${guestLostMarker.source}`);
    const ready = await terminal.feed.waitFor(either, timeoutMs, from);
    if (ready.match[1] === undefined) {
      throw new ThimbleError(
        "guest_lost",
        `The guest was lost. Its last lines were:\n${terminal.feed.tail(60)}`,
      );
    }
    onReady?.();
    return GuestShell.takeOver(terminal, timeoutMs, ready);
  }

  /** Takes over a shell that is already there. */
  static async takeOver(terminal: ShellTerminal, timeoutMs: number, ready?: FeedMatch): Promise<GuestShell> {
    // Typed until it is heard: what comes before the shell has its terminal may be lost.
    const end = Date.now() + timeoutMs;
    for (;;) {
      const mark = randomBytes(6).toString("hex");
      const from = terminal.feed.position;
      terminal.type(`stty -echo; PS1= PS2=; echo "@"${mark}@\n`);
      try {
        // The echo of what was typed has a quote after the first "@"; the command's output does not.
        const { end: position } = await terminal.feed.waitFor(new RegExp(`@${mark}@`), 3000, from);
        const uptime = ready === undefined ? undefined : Number(ready.match[1]);
        return new GuestShell(terminal, position, uptime);
      } catch (error) {
        if (Date.now() > end || (error instanceof ThimbleError && error.code === "console_ended"))
          throw error;
      }
    }
  }

  /** Runs a command and gives its output and status. Errors: `console_timed_out`, `console_ended`, `command_too_long`. */
  async run(command: string, timeoutMs = commandTimeoutMs): Promise<CommandResult> {
    const mark = randomBytes(6).toString("hex");
    const lines = `echo @${mark}-begin\n{ ${command}\n} 2>&1; echo @${mark}-end $?@\n`;
    if (lines.split("\n").some((line) => line.length > lineMax)) {
      throw new ThimbleError(
        "command_too_long",
        `A line of a guest command is at most ${lineMax} characters long.`,
      );
    }
    this.terminal.type(lines);
    const pattern = new RegExp(`@${mark}-begin\\r?\\n([^]*?)@${mark}-end (\\d+)@`);
    const { match, end } = await this.terminal.feed.waitFor(pattern, timeoutMs, this.#position);
    this.#position = end;
    const output = (match[1] as string).replaceAll("\r", "");
    return { status: Number(match[2]), output: output.endsWith("\n") ? output.slice(0, -1) : output };
  }

  /** The output of a command that must succeed. Errors: also `guest_command_failed` with its output. */
  async output(command: string, timeoutMs = commandTimeoutMs): Promise<string> {
    const { status, output } = await this.run(command, timeoutMs);
    if (status !== 0) {
      const message = `"${command}" in the guest ended with status ${status}: ${output.slice(-2000)}`;
      throw new ThimbleError("guest_command_failed", message);
    }
    return output;
  }

  /** A file's bytes, through base64 on the console. */
  async readFile(path: string, timeoutMs = 120_000): Promise<Buffer> {
    return Buffer.from(await this.output(`base64 ${path}`, timeoutMs), "base64");
  }

  /** Gives the terminal back to a person: echo, line editing and a prompt. */
  restoreForPerson(): void {
    this.terminal.type("stty echo; PS1='\\u@\\h:\\w# ' PS2='> '\n");
  }

  /** Types without waiting for anything, e.g. to power off. */
  send(line: string): void {
    this.terminal.type(`${line}\n`);
  }
}
