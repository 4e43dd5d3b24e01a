/**
 * All viewers of one machine: when the picture is looked at anew, and whose turn it is. Work is done in small pieces,
 * between which the machine's own threads run; with nobody looking, nothing is done and nothing kept.
 */
import type { Screen } from "../devices/display/screen.ts";
import type { InputSink } from "../input.ts";
import { RECTANGLE_PIXELS_MAX, SCRATCH_BYTES, type SharedEncoder, VncClient } from "./client.ts";
import { Surface } from "./surface.ts";
import { ZrleEncoder } from "./zrle.ts";

/** Between two looks at the picture: while it changes, and once it has been still for a while. */
const REFRESH_MIN_MS = 25;
const REFRESH_MAX_MS = 100;
/** Pixels compared, and pixels encoded, in one piece of work. */
const COMPARE_BUDGET = 128 * 1024;
const ENCODE_BUDGET = 64 * 1024;
/** Between two pieces of work. */
const PAUSE_MS = 1;

export interface ViewersPorts {
  readonly name: string;
  readonly screen: Screen;
  readonly sink: InputSink;
}

export class Viewers {
  readonly #ports: ViewersPorts;
  readonly #clients = new Set<VncClient>();
  #surface: Surface | null = null;
  #shared: SharedEncoder | null = null;
  #refreshAtMs = 0;
  #intervalMs = REFRESH_MIN_MS;

  constructor(ports: ViewersPorts) {
    this.#ports = ports;
  }

  get count(): number {
    return this.#clients.size;
  }

  /** A viewer has come. `send` and `violation` are VncClient's ports. */
  add(send: (bytes: Uint8Array) => number, violation: (why: string) => void): VncClient {
    const { name, screen, sink } = this.#ports;
    this.#surface ??= new Surface(screen);
    this.#shared ??= {
      zrle: new ZrleEncoder(RECTANGLE_PIXELS_MAX),
      scratch: new Uint8Array(SCRATCH_BYTES),
    };
    const surface = () => this.#surface as Surface;
    const client = new VncClient({ name, sink, send, violation, surface });
    this.#clients.add(client);
    return client;
  }

  remove(client: VncClient): void {
    if (!this.#clients.delete(client)) return;
    client.release();
    if (this.#clients.size > 0) return;
    this.#surface?.close();
    this.#surface = this.#shared = null;
  }

  /** A viewer typed or pointed: the picture will change soon. */
  hasten(nowMs: number): void {
    this.#intervalMs = REFRESH_MIN_MS;
    this.#refreshAtMs = Math.min(this.#refreshAtMs, nowMs + REFRESH_MIN_MS);
  }

  /** Does a piece of work. Returns in how many milliseconds the next is due; null: when a viewer wants something. */
  turn(nowMs: number): number | null {
    const surface = this.#surface;
    const shared = this.#shared;
    if (surface === null || shared === null) return null;
    const waiting = [...this.#clients].some((client) => client.requested);
    if (waiting && !surface.pending && nowMs >= this.#refreshAtMs) {
      surface.refresh();
      this.#intervalMs = surface.pending ? REFRESH_MIN_MS : Math.min(REFRESH_MAX_MS, this.#intervalMs * 2);
      this.#refreshAtMs = nowMs + this.#intervalMs;
    }
    surface.advance(COMPARE_BUDGET);
    if (surface.pending || this.#encode(surface, shared)) return PAUSE_MS;
    if (![...this.#clients].some((client) => client.requested)) return null;
    return Math.max(PAUSE_MS, this.#refreshAtMs - nowMs);
  }

  /** Says whether more is to be done. */
  #encode(surface: Surface, shared: SharedEncoder): boolean {
    let left = ENCODE_BUDGET;
    for (let busy = true; busy; ) {
      busy = false;
      for (const client of this.#clients) {
        const pixels = client.step(surface, shared);
        if (pixels === 0) continue;
        busy = true;
        left -= pixels;
        if (left <= 0) return true;
      }
    }
    return false;
  }
}
