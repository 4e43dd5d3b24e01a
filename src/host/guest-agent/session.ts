/**
 * One conversation with a guest's agent (the QEMU guest agent's protocol): JSON lines, one request at a time.
 *
 * It begins with guest-sync-delimited: everything up to the answer with our number is somebody else's. An answer that
 * is late, malformed, too large or unasked for ends the conversation; whoever wants another begins anew.
 */
import { ThimbleError } from "../../base/errors.ts";
import { utf8Decode, utf8Encode } from "../../sys/text.ts";
import { parseBoundedJson } from "../bounded-json.ts";
import { type Connection, type Platform, within } from "../platform/platform.ts";
import { Lines, SENTINEL } from "./lines.ts";

/** The deepest answer is a handful of levels. */
const DEPTH_MAX = 16;
/** What may come before the answer to the first request: what an agent still had to say to somebody before us. */
const STALE_BYTES_MAX = 1024 * 1024;
/** Requests that may wait for each other. */
const REQUESTS_MAX = 8;
/** Of a guest's words in our messages. */
const DESCRIPTION_MAX = 200;

/** A guest's answer. */
type Answer = { readonly result: unknown } | { readonly refusal: string };

export class GuestAgentSession {
  /** Resolves when the conversation has ended; with false when the guest broke the rules. Never rejects. */
  readonly closed: Promise<boolean>;
  readonly #platform: Pick<Platform, "after" | "randomHex">;
  readonly #connection: Connection;
  readonly #syncId: number;
  #synced!: (isSynced: boolean) => void;
  readonly #sync: Promise<boolean>;
  #isSynced = false;
  #staleBytes = 0;
  #open = true;
  #waiting: ((answer: Answer | null) => void) | null = null;
  /** Ends when the request before has. */
  #turn: Promise<unknown> = Promise.resolve();
  #waitingTurns = 0;

  constructor(platform: Pick<Platform, "after" | "randomHex">, connection: Connection) {
    this.#platform = platform;
    this.#connection = connection;
    this.#syncId = Number.parseInt(platform.randomHex(4), 16) >>> 1;
    this.#sync = new Promise((resolve) => {
      this.#synced = resolve;
    });
    this.closed = this.#receive();
    const request = utf8Encode(
      ` ${JSON.stringify({ execute: "guest-sync-delimited", arguments: { id: this.#syncId } })}\n`,
    );
    // Makes the guest's parser forget what it may be in the middle of.
    request[0] = SENTINEL;
    this.#send(request);
  }

  /** Resolves when an agent answers, however long that takes; false when the conversation ends before. */
  get synced(): Promise<boolean> {
    return this.#sync;
  }

  /**
   * Asks; rejects with ThimbleError: `guest_agent_gone`, `guest_agent_silent`, `guest_agent_busy`, or `guest_refused` with
   * the guest's own words.
   */
  async request(command: string, args: object | null, timeoutMs: number): Promise<unknown> {
    if (this.#waitingTurns >= REQUESTS_MAX) {
      throw new ThimbleError("guest_agent_busy", "The guest's agent is still busy with other requests.");
    }
    this.#waitingTurns++;
    const mine = this.#turn.then(() => this.#ask(command, args, timeoutMs));
    this.#turn = mine.catch(() => {}).finally(() => this.#waitingTurns--);
    return mine;
  }

  close(): void {
    this.#connection.close();
  }

  async #ask(command: string, args: object | null, timeoutMs: number): Promise<unknown> {
    if (!this.#open) throw gone();
    const answered = new Promise<Answer | null>((resolve) => {
      this.#waiting = resolve;
    });
    const request = args === null ? { execute: command } : { execute: command, arguments: args };
    this.#send(utf8Encode(`${JSON.stringify(request)}\n`));
    const answer = await within(
      this.#platform,
      timeoutMs,
      answered.then((value) => ({ value })),
    );
    this.#waiting = null;
    if (answer === null) {
      this.close();
      throw new ThimbleError(
        "guest_agent_silent",
        `The guest's agent did not answer within ${timeoutMs} ms.`,
      );
    }
    if (answer.value === null) throw gone();
    if ("refusal" in answer.value) {
      throw new ThimbleError("guest_refused", `The guest's agent refused: ${answer.value.refusal}.`);
    }
    return answer.value.result;
  }

  #send(bytes: Uint8Array): void {
    this.#connection.write(bytes).catch(() => this.#connection.close());
  }

  async #receive(): Promise<boolean> {
    const lines = new Lines();
    let isHonest = true;
    try {
      for (let bytes = await this.#connection.read(); bytes !== null; bytes = await this.#connection.read()) {
        if (!this.#isSynced) this.#staleBytes += bytes.length;
        isHonest = lines.take(bytes, (line) => {
          if (line.length > 0 && isHonest) this.#line(line);
        });
        isHonest &&= this.#staleBytes <= STALE_BYTES_MAX;
        if (!isHonest) break;
      }
    } catch (error) {
      // A connection that broke is like one that ended; an answer that is none is a breach.
      if (error instanceof BadAnswer) isHonest = false;
    }
    this.#open = false;
    this.#connection.close();
    this.#waiting?.(null);
    this.#synced(false);
    return isHonest;
  }

  /** Throws BadAnswer. */
  #line(bytes: Uint8Array): void {
    const start = bytes.lastIndexOf(SENTINEL) + 1;
    if (!this.#isSynced) {
      if (start === 0 || !this.#isOurSync(bytes.subarray(start))) return;
      this.#isSynced = true;
      this.#staleBytes = 0;
      this.#synced(true);
      return;
    }
    const answer = answerOf(parse(bytes));
    const waiting = this.#waiting;
    if (waiting === null) throw new BadAnswer();
    this.#waiting = null;
    waiting(answer);
  }

  #isOurSync(bytes: Uint8Array): boolean {
    try {
      const answer = answerOf(parse(bytes));
      return "result" in answer && answer.result === this.#syncId;
    } catch {
      return false;
    }
  }
}

/** The guest broke the protocol's rules. */
class BadAnswer extends Error {}

function parse(bytes: Uint8Array): unknown {
  try {
    return parseBoundedJson(utf8Decode(bytes), DEPTH_MAX);
  } catch {
    throw new BadAnswer();
  }
}

function answerOf(value: unknown): Answer {
  if (typeof value !== "object" || value === null) throw new BadAnswer();
  if ("return" in value) return { result: value.return };
  if (!("error" in value)) throw new BadAnswer();
  const { error } = value;
  const words = typeof error === "object" && error !== null && "desc" in error ? error.desc : null;
  return { refusal: printable(words, DESCRIPTION_MAX) ?? "without a word" };
}

/** A guest's text as it may be shown: cut, without control characters. Null for what is no text, or an empty one. */
export function printable(value: unknown, max: number): string | null {
  if (typeof value !== "string") return null;
  let text = "";
  for (const character of value.slice(0, max)) {
    if (!isControl(character.codePointAt(0) as number)) text += character;
  }
  text = text.trim();
  return text === "" ? null : text;
}

/** Control characters, and those that change how others are shown. */
function isControl(code: number): boolean {
  const isC0 = code < 0x20 || (code >= 0x7f && code < 0xa0);
  return isC0 || (code >= 0x200b && code < 0x2070) || (code >= 0xd800 && code < 0xe000) || code === 0xfeff;
}

/** The code of a request's error. */
export function codeOf(error: unknown): string | null {
  return error instanceof ThimbleError ? error.code : null;
}

function gone(): ThimbleError {
  return new ThimbleError("guest_agent_gone", "The guest's agent does not run, or has just been restarted.");
}
