/**
 * The end of the host's running, in order: the agent shuts the VMs down, what is left is ended, files are written
 * back, the machine is powered off or restarted. Each wait is bounded, so a host told to go always goes.
 */
import type { Logger } from "../sys/log.ts";
import type { EventLoop } from "../sys/loop.ts";
import { kill } from "../sys/process.ts";
import { reboot, sync } from "../sys/reboot.ts";
import { SIGKILL, SIGTERM } from "../sys/signals.ts";
import type { Supervisor } from "./supervisor.ts";

export type PowerAction = "power-off" | "restart";

/** The agent gives guests 30 s to shut down before it forces them off. */
const AGENT_PATIENCE_MS = 40_000;
/** For what is left to end by itself after SIGTERM. */
const OTHERS_PATIENCE_MS = 2000;
const POLL_MS = 20;
/** All processes but the caller's own. */
const EVERYONE = -1;

export class HostPower {
  #action: PowerAction | null = null;

  constructor(
    private readonly loop: EventLoop,
    private readonly log: Logger,
    private readonly agent: Supervisor,
  ) {}

  /** Starts it; a second request while one is under way changes nothing. */
  request(action: PowerAction, why: string): void {
    if (this.#action !== null) return;
    this.#action = action;
    this.log.info(`${action}: ${why}`);
    void this.#carryOut(action);
  }

  async #carryOut(action: PowerAction): Promise<void> {
    await Promise.race([this.agent.stop(SIGTERM), this.loop.sleep(AGENT_PATIENCE_MS)]);
    await this.#endOthers();
    sync();
    reboot(action === "restart" ? "restart" : "powerOff");
  }

  /** A kill of everyone that finds nobody fails: nobody is left. */
  async #endOthers(): Promise<void> {
    kill(EVERYONE, SIGTERM);
    for (let waitedMs = 0; waitedMs < OTHERS_PATIENCE_MS && kill(EVERYONE, 0); waitedMs += POLL_MS) {
      await this.loop.sleep(POLL_MS);
    }
    kill(EVERYONE, SIGKILL);
  }
}
