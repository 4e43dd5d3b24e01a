/** Powering the host off and restarting it: first the VMs, then init (src/init), which ends everything else. */
import { ThimbleError } from "../../base/errors.ts";
import { utf8Encode } from "../../sys/text.ts";
import { RequestError } from "../http/errors.ts";
import type { Platform } from "../platform/platform.ts";
import type { Task, TaskList } from "../tasks/tasks.ts";
import type { VmManager } from "../vms/manager.ts";

export type PowerAction = "power-off" | "restart";

/** How long guests may take to shut down before they are forced off. */
export const GUEST_SHUTDOWN_MS = 30_000;

export class HostPower {
  #action: PowerAction | null = null;

  constructor(
    private readonly platform: Pick<Platform, "connectUnix">,
    private readonly tasks: TaskList,
    private readonly vms: VmManager,
    private readonly initSocket: string,
  ) {}

  /** Throws RequestError (409) when one is under way. */
  start(action: PowerAction): Task {
    if (this.#action !== null) {
      throw new RequestError(409, "host_stopping", `The host is doing a ${this.#action} already.`);
    }
    this.#action = action;
    return this.tasks.start(`host.${action}`, { kind: "host", id: "host" }, async () => {
      try {
        await this.vms.stopAll(GUEST_SHUTDOWN_MS);
        await this.#tellInit(action);
      } catch (error) {
        this.#action = null;
        this.vms.reopen();
        throw error;
      }
    });
  }

  async #tellInit(action: PowerAction): Promise<void> {
    const connection = await this.platform.connectUnix(this.initSocket).catch((cause: unknown) => {
      throw new ThimbleError("init_unreachable", `${this.initSocket} does not answer; the host stays on.`, {
        cause,
      });
    });
    try {
      await connection.write(utf8Encode(`${JSON.stringify({ op: action })}\n`));
      await connection.read(); // init's answer, or its end
    } finally {
      connection.close();
    }
  }
}
