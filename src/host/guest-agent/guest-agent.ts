/**
 * The agent in a running guest, as the host sees it: connected to whenever it runs, asked for what the guest is, told to
 * freeze and thaw file systems and to power off.
 *
 * A frozen guest must not stay so: it is thawed when its time is over, and also when it is found frozen by a host agent
 * that knows nothing of it (its predecessor died meanwhile).
 */
import { messageOf, ThimbleError } from "../../base/errors.ts";
import { type Platform, sleep, within } from "../platform/platform.ts";
import { askFacts, type GuestFacts } from "./facts.ts";
import { codeOf, GuestAgentSession } from "./session.ts";

/** Waits grow from the first to the second, for a VMM without the channel and for guests that break the rules. */
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 10_000;
const ANSWER_TIMEOUT_MS = 5000;
/** Freezing writes out what the guest has in memory. */
const FREEZE_TIMEOUT_MS = 60_000;
/** Between attempts to thaw a guest that does not answer. */
const THAW_RETRY_MS = 1000;
/** What was asked for within this time is not asked for again. */
const FACTS_FRESH_MS = 3000;
/** An agent answers a shutdown only to refuse it. */
const REFUSAL_MS = 2000;

/** As the API shows it. */
export interface GuestAgentView extends GuestFacts {
  readonly connected: boolean;
  /** File systems are frozen through the API. */
  readonly frozen?: true;
}

export class GuestAgent {
  readonly #platform: Platform;
  readonly #path: string;
  #session: GuestAgentSession | null = null;
  #facts: GuestFacts = {};
  #factsAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;
  /** Takes the automatic thaw back; null while nothing is frozen. */
  #cancelThaw: (() => void) | null = null;
  #connection: { close(): void } | null = null;
  #closed = false;

  /** `path` is the channel's socket; connecting begins at once. */
  constructor(platform: Platform, path: string) {
    this.#platform = platform;
    this.#path = path;
    void this.#keepConnected();
  }

  get isConnected(): boolean {
    return this.#session !== null;
  }

  get view(): GuestAgentView {
    if (this.#session === null) return { connected: false };
    return { connected: true, ...(this.#cancelThaw === null ? {} : { frozen: true }), ...this.#facts };
  }

  /** The VM is off: nobody is connected to any more. */
  close(): void {
    this.#closed = true;
    this.#cancelThaw?.();
    this.#cancelThaw = null;
    this.#connection?.close();
  }

  /** Brings what the view shows up to date, as far as the guest answers within `ms`. Never rejects. */
  async refresh(ms: number): Promise<void> {
    const session = this.#session;
    if (session === null || this.#cancelThaw !== null) return;
    if (this.#platform.monotonicMs() - this.#factsAtMs < FACTS_FRESH_MS) return;
    this.#asking ??= this.#askFacts(session).finally(() => {
      this.#asking = null;
    });
    await within(this.#platform, ms, this.#asking);
  }

  /**
   * Freezes the guest's file systems and returns how many; they thaw by themselves after `timeoutMs`. Rejects with
   * ThimbleError: the session's, or `guest_frozen`.
   */
  async freeze(timeoutMs: number): Promise<number> {
    const session = this.#connected();
    if (this.#cancelThaw !== null) {
      throw new ThimbleError("guest_frozen", "The guest's file systems are frozen already. Thaw them first.");
    }
    // From the request on: an answer that is late or lost leaves a guest frozen, too.
    this.#thawAfter(FREEZE_TIMEOUT_MS + timeoutMs);
    try {
      const count = await session.request("guest-fsfreeze-freeze", null, FREEZE_TIMEOUT_MS);
      this.#thawAfter(timeoutMs);
      return countOf(count);
    } catch (error) {
      this.#thawAfter(0);
      throw error;
    }
  }

  /** Thaws them and returns how many were frozen. Rejects with ThimbleError. */
  async thaw(): Promise<number> {
    const count = await this.#connected().request("guest-fsfreeze-thaw", null, FREEZE_TIMEOUT_MS);
    this.#cancelThaw?.();
    this.#cancelThaw = null;
    return countOf(count);
  }

  /** Tells the guest to power off. Rejects with ThimbleError when there is nobody to tell, or the agent refuses. */
  async shutdown(): Promise<void> {
    // A frozen guest's agent refuses to shut down; if it does not thaw it says so itself.
    if (this.#cancelThaw !== null) await this.thaw().catch(() => {});
    const session = this.#connected();
    try {
      await session.request("guest-shutdown", { mode: "powerdown" }, REFUSAL_MS);
    } catch (error) {
      // Silence is consent, and so is an agent that ends.
      const code = codeOf(error);
      if (code !== "guest_agent_silent" && code !== "guest_agent_gone") throw error;
    }
  }

  #connected(): GuestAgentSession {
    if (this.#session !== null) return this.#session;
    throw new ThimbleError(
      "guest_agent_gone",
      "No agent runs in the guest. Install and start qemu-guest-agent.",
    );
  }

  async #keepConnected(): Promise<void> {
    let delayMs = RETRY_MIN_MS;
    while (!this.#closed) {
      const connection = await this.#platform.connectUnix(this.#path).catch(() => null);
      if (connection !== null) {
        this.#connection = connection;
        if (this.#closed) connection.close();
        const sinceMs = this.#platform.monotonicMs();
        const isHonest = await this.#talk(new GuestAgentSession(this.#platform, connection));
        // Whoever hangs up at once, again and again, is waited for longer and longer, too.
        if (isHonest && this.#platform.monotonicMs() - sinceMs > RETRY_MAX_MS) delayMs = RETRY_MIN_MS;
        if (!isHonest) this.#platform.log.warn(`${this.#path}: the guest's agent broke the protocol's rules`);
      }
      if (this.#closed) return;
      await sleep(this.#platform, delayMs);
      delayMs = Math.min(2 * delayMs, RETRY_MAX_MS);
    }
  }

  /** Until the conversation ends; says whether the guest kept to the rules. */
  async #talk(session: GuestAgentSession): Promise<boolean> {
    if (await session.synced) {
      this.#facts = {};
      this.#factsAtMs = Number.NEGATIVE_INFINITY;
      this.#session = session;
      await this.#settleFreeze(session);
      await this.refresh(ANSWER_TIMEOUT_MS);
    }
    const isHonest = await session.closed;
    this.#session = null;
    return isHonest;
  }

  /** A guest that has started anew is not frozen any more; one that somebody else froze has nobody else to thaw it. */
  async #settleFreeze(session: GuestAgentSession): Promise<void> {
    try {
      const status = await session.request("guest-fsfreeze-status", null, ANSWER_TIMEOUT_MS);
      if (status === "thawed") {
        this.#cancelThaw?.();
        this.#cancelThaw = null;
      } else if (status === "frozen" && this.#cancelThaw === null) {
        await session.request("guest-fsfreeze-thaw", null, FREEZE_TIMEOUT_MS);
      }
    } catch {
      // An agent without these commands has frozen nothing; one that is gone comes back here.
    }
  }

  async #askFacts(session: GuestAgentSession): Promise<void> {
    try {
      this.#facts = await askFacts(session);
      this.#factsAtMs = this.#platform.monotonicMs();
    } catch {
      // The agent has just gone: the view says so.
    }
  }

  #thawAfter(ms: number): void {
    this.#cancelThaw?.();
    this.#cancelThaw = this.#platform.after(ms, () => {
      this.thaw().catch((error: unknown) => {
        if (this.#closed || this.#cancelThaw === null) return;
        // A guest that refuses was not frozen (any more).
        if (codeOf(error) === "guest_refused") {
          this.#cancelThaw = null;
          return;
        }
        this.#platform.log.warn(`${this.#path}: thawing: ${messageOf(error)}`);
        this.#thawAfter(THAW_RETRY_MS);
      });
    });
  }
}

/** A guest's number of file systems. */
function countOf(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}
