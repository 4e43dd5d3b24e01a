/**
 * virtio-balloon: virtio 1.2, 5.5.
 *
 * The host sets how large the balloon is to be; the driver takes that much memory from the guest, tells the pages'
 * numbers in the inflate queue, and says in `actual` how far it got. The pages are given back to the host at once. To
 * deflate, the driver just uses them again. In the reporting queue it tells of free memory, which goes back, too. The
 * statistics buffer lies here until the next poll: returning it makes the driver fill it anew.
 */
import type { Clock, DeviceState } from "../../contract.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { StateReader } from "../../state.ts";
import { DeviceType } from "../bits.ts";
import { type Features, features, hasFeature, type VirtioDevice, type VirtioHost } from "../device.ts";
import type { VirtQueue } from "../queue.ts";
import { readRegister } from "../segments.ts";
import {
  BALLOON_CLASS_CODE,
  BALLOON_PAGE_SIZE,
  BalloonConfig,
  BalloonFeature,
  PAGES_PER_CALL,
  QUEUE_SIZES,
} from "./bits.ts";
import { PageReleaser, type ReleaseMemory } from "./page-releaser.ts";
import { assignRoles, type BalloonRole } from "./queues.ts";
import { BalloonStatistics } from "./statistics.ts";
import type { BalloonStatus } from "./status.ts";

export interface BalloonOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly release: ReleaseMemory;
  /** How large the balloon is to be at first. */
  readonly targetBytes: number;
  /** Whether drivers may report free memory. */
  readonly reporting: boolean;
  /** How often the driver is asked for its statistics; 0: never. */
  readonly statisticsMs: number;
}

const STATE_VERSION = 1;
const field = BalloonConfig.offset;
const NO_BUFFER = -1;

export class VirtioBalloon implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.balloon;
  readonly classCode = BALLOON_CLASS_CODE;
  readonly features: Features;
  readonly queueSizes = QUEUE_SIZES;
  readonly configSize = BalloonConfig.size;
  readonly busy = false;
  readonly #options: BalloonOptions;
  readonly #pages: PageReleaser;
  readonly #statistics: BalloonStatistics;
  readonly #config = new Uint8Array(BalloonConfig.size);
  #host: VirtioHost | null = null;
  #queues: readonly (VirtQueue | null)[] = [];
  #roles: readonly (BalloonRole | null)[] = [];
  #poison = false;
  /** The driver's statistics buffer, kept until the next poll. */
  #held = NO_BUFFER;
  #pollAtMs = 0;
  #cancelPoll: (() => void) | null = null;

  constructor(options: BalloonOptions) {
    this.name = options.name;
    this.#options = options;
    this.#pages = new PageReleaser(options.memory, options.release);
    this.#statistics = new BalloonStatistics(options.memory);
    const { STATS_VQ, DEFLATE_ON_OOM, PAGE_POISON, PAGE_REPORTING } = BalloonFeature;
    this.features = features(
      DEFLATE_ON_OOM,
      ...(options.statisticsMs > 0 ? [STATS_VQ] : []),
      ...(options.reporting ? [PAGE_POISON, PAGE_REPORTING] : []),
    );
    this.#setTarget(options.targetBytes);
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  /** Sets how large the balloon is to be; fractions of a page are left out. */
  setTarget(bytes: number): void {
    this.#setTarget(bytes);
    this.#host?.configChanged();
  }

  get status(): BalloonStatus {
    const config = BalloonConfig.decode(this.#config);
    const pagesMax = this.#options.memory.sizeBytes / BALLOON_PAGE_SIZE;
    const statistics = this.#statistics.view(this.#options.clock.monotonicMs());
    return {
      hasDriver: this.#queues.length > 0,
      targetBytes: config.num_pages * BALLOON_PAGE_SIZE,
      actualBytes: Math.min(config.actual, pagesMax) * BALLOON_PAGE_SIZE,
      releasedBytes: this.#pages.releasedBytes,
      ...(statistics === null ? {} : { statistics }),
    };
  }

  configRead(offset: number, size: number): number {
    return readRegister(this.#config, offset, size);
  }

  /** Drivers write `actual` and `poison_val`. */
  configWrite(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const isDrivers = (at >= field.actual && at < field.actual + 4) || at >= field.poison_val;
      if (isDrivers) this.#config[at] = value >>> (8 * i);
    }
  }

  activate(queues: readonly (VirtQueue | null)[], driverFeatures: Features): void {
    this.#queues = queues;
    this.#roles = assignRoles(queues, driverFeatures);
    this.#poison = hasFeature(driverFeatures, BalloonFeature.PAGE_POISON);
    if (hasFeature(driverFeatures, BalloonFeature.STATS_VQ)) this.#pollIn(this.#options.statisticsMs);
  }

  handleQueue(index: number): void {
    const queue = this.#queues[index];
    const role = this.#roles[index];
    if (!queue || !role) return;
    let budget = PAGES_PER_CALL;
    do {
      queue.suppressNotifications();
      for (let head = queue.pop(); head >= 0; head = queue.pop()) {
        budget -= this.#serve(role, queue, head);
        if (budget > 0) continue;
        queue.flush();
        this.#host?.defer(index);
        return;
      }
      queue.flush();
    } while (queue.resumeNotifications());
  }

  reset(): void {
    this.#stopPolling();
    this.#queues = this.#roles = [];
    this.#poison = false;
    this.#held = NO_BUFFER;
    this.#statistics.clear();
    BalloonConfig.patch(this.#config, 0, { actual: 0, poison_val: 0 });
  }

  save(): DeviceState {
    const { num_pages, actual, poison_val } = BalloonConfig.decode(this.#config);
    const nowMs = this.#options.clock.monotonicMs();
    return {
      version: STATE_VERSION,
      targetPages: num_pages,
      actual,
      poison: poison_val,
      held: this.#held,
      polls: this.#cancelPoll !== null,
      pollInMs: this.#cancelPoll === null ? 0 : Math.max(0, this.#pollAtMs - nowMs),
      statistics: this.#statistics.save(nowMs),
    };
  }

  restore(state: DeviceState): void {
    const from = new StateReader(this.name, state, STATE_VERSION);
    const config = {
      num_pages: from.u32("targetPages"),
      actual: from.u32("actual"),
      poison_val: from.u32("poison"),
    };
    const held = from.integer("held", NO_BUFFER, 0xffff);
    const polls = from.flag("polls");
    const pollInMs = from.finite("pollInMs");
    const statistics = from.nested("statistics");
    this.#statistics.restore(statistics, this.#options.clock.monotonicMs());
    BalloonConfig.patch(this.#config, 0, config);
    this.#held = held;
    // Of a driver that broke a rule nothing was activated, but it goes on to be polled, in vain.
    if (polls) this.#pollIn(pollInMs);
    else this.#stopPolling();
  }

  /** Serves the chain just popped. Returns how much work it was, at least 1. */
  #serve(role: BalloonRole, queue: VirtQueue, head: number): number {
    let work = 1;
    if (role === "statistics") {
      this.#statistics.read(queue.readable, this.#options.clock.monotonicMs());
      // There is to be one buffer only; of more the latest counts.
      if (this.#held !== NO_BUFFER) queue.push(this.#held, 0);
      this.#held = head;
      return work;
    }
    if (role === "inflate") work += this.#pages.releaseNumbered(queue.readable);
    if (role === "reporting") {
      // The pages must go on to read as poisoned ones (5.5.6.7.1): zeroes are right only where the poison is zero.
      if (!this.#poison || BalloonConfig.decode(this.#config).poison_val === 0)
        this.#pages.releaseSegments(queue.writable);
      work += queue.writable.count;
    }
    queue.push(head, 0);
    return work;
  }

  #setTarget(bytes: number): void {
    const pagesMax = this.#options.memory.sizeBytes / BALLOON_PAGE_SIZE;
    const num_pages = Math.min(Math.floor(bytes / BALLOON_PAGE_SIZE), pagesMax);
    BalloonConfig.patch(this.#config, 0, { num_pages });
  }

  #pollIn(delayMs: number): void {
    this.#stopPolling();
    const { clock, statisticsMs } = this.#options;
    this.#pollAtMs = clock.monotonicMs() + delayMs;
    this.#cancelPoll = clock.after(delayMs, () => {
      if (this.#held !== NO_BUFFER) {
        // Of a driver that broke a rule and was then moved there is no queue.
        const queue = this.#queues[this.#roles.indexOf("statistics")];
        queue?.push(this.#held, 0);
        queue?.flush();
        this.#held = NO_BUFFER;
      }
      this.#pollIn(statisticsMs);
    });
  }

  #stopPolling(): void {
    this.#cancelPoll?.();
    this.#cancelPoll = null;
  }
}
