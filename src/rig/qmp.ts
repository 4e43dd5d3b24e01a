/** QEMU's machine protocol: JSON lines, one command at a time, on a connected stream. */
import type { Duplex } from "node:stream";
import { ThimbleError } from "../base/errors.ts";
import { within } from "./time.ts";

interface QmpMessage {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
}

/** QEMU answers at once unless it hangs. */
const replyTimeoutMs = 20_000;

export class QmpClient {
  readonly #stream: Duplex;
  #partial = "";
  #waiting: ((message: QmpMessage) => void) | undefined;
  #turn: Promise<unknown>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => this.#take(text));
    this.#turn = this.#reply().then(() => this.#send("qmp_capabilities"));
    this.#turn.catch(() => {});
  }

  /** Runs a command after those before it. Errors: `qmp_failed`, `timed_out`. */
  execute(command: string, args?: Record<string, unknown>): Promise<unknown> {
    const turn = this.#turn.then(() => this.#send(command, args));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #send(command: string, args?: Record<string, unknown>): Promise<unknown> {
    this.#stream.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const message = await this.#reply();
    if (message.error !== undefined) {
      throw new ThimbleError("qmp_failed", `QEMU refused ${command}: ${message.error.desc}`);
    }
    return message.return;
  }

  #reply(): Promise<QmpMessage> {
    return within(
      replyTimeoutMs,
      "QEMU's answer on its control socket",
      new Promise<QmpMessage>((resolve) => {
        this.#waiting = resolve;
      }),
    );
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop() as string;
    for (const line of lines) {
      if (line.trim() === "") continue;
      const message = JSON.parse(line) as QmpMessage;
      if (message.event !== undefined) continue;
      this.#waiting?.(message);
      this.#waiting = undefined;
    }
  }
}
