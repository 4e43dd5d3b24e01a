/** The host agent's end of the VMM's control protocol (src/vmm/control.ts). */
import { ThimbleError } from "../../base/errors.ts";
import { utf8Decode, utf8Encode } from "../../sys/text.ts";
import type {
  ControlCall,
  ControlEvent,
  ControlReply,
  ControlRequest,
  VmmStatus,
} from "../../vmm/control.ts";
import { join } from "../join.ts";
import { type Connection, type Platform, within } from "../platform/platform.ts";

/** Far longer than any message of the protocol; a VMM that sends more is not one of ours any more. */
const LINE_MAX = 64 * 1024;
const REPLY_TIMEOUT_MS = 5000;
const NEWLINE = 0x0a;

interface Waiting {
  resolve(result: VmmStatus | null): void;
  reject(error: unknown): void;
}

export class ControlClient {
  /** Resolves when the connection has ended. Events that came before have been delivered. */
  readonly closed: Promise<void>;
  readonly #platform: Pick<Platform, "after">;
  readonly #connection: Connection;
  readonly #onEvent: (event: ControlEvent) => void;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #open = true;

  constructor(
    platform: Pick<Platform, "after">,
    connection: Connection,
    onEvent: (event: ControlEvent) => void,
  ) {
    this.#platform = platform;
    this.#connection = connection;
    this.#onEvent = onEvent;
    this.closed = this.#receive();
  }

  /** Rejects with ThimbleError: the VMM's own code, `vmm_gone`, or `vmm_silent`. */
  async request(call: ControlCall): Promise<VmmStatus | null> {
    if (!this.#open) throw gone();
    const id = ++this.#lastId;
    const reply = new Promise<{ result: VmmStatus | null }>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (result) => resolve({ result }), reject });
    });
    const request: ControlRequest = { id, ...call };
    this.#connection.write(utf8Encode(`${JSON.stringify(request)}\n`)).catch(() => this.#connection.close());
    try {
      const answered = await within(this.#platform, REPLY_TIMEOUT_MS, reply);
      if (answered === null) {
        throw new ThimbleError(
          "vmm_silent",
          `The VM's process did not answer within ${REPLY_TIMEOUT_MS} ms.`,
        );
      }
      return answered.result;
    } finally {
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#connection.close();
  }

  async #receive(): Promise<void> {
    let rest = new Uint8Array(0);
    try {
      for (let bytes = await this.#connection.read(); bytes !== null; bytes = await this.#connection.read()) {
        const received = join(rest, bytes);
        const end = received.lastIndexOf(NEWLINE) + 1;
        for (const line of utf8Decode(received.subarray(0, end)).split("\n")) {
          if (line !== "") this.#message(line);
        }
        rest = received.slice(end);
        if (rest.length > LINE_MAX) break;
      }
    } catch {
      // Broken or ended: the same for us; what became of the process is told by the process.
    } finally {
      this.#open = false;
      this.#connection.close();
      for (const waiting of this.#waiting.values()) waiting.reject(gone());
    }
  }

  /** Throws on what is no JSON: then the connection is given up. */
  #message(line: string): void {
    const message = JSON.parse(line) as ControlReply | ControlEvent;
    if ("event" in message) {
      this.#onEvent(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    if (message.ok) waiting.resolve(message.result);
    else waiting.reject(new ThimbleError(message.code, message.message));
  }
}

function gone(): ThimbleError {
  return new ThimbleError("vmm_gone", "The VM's process has ended or is being reset.");
}
