/** An agent under Node for a test: on a free port, with a datastore of its own, VMM stand-ins and no network. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ApiClient } from "../../rig/api-client.ts";
import type { VmSpec } from "../../rig/api-types.ts";
import type { NetworkLimits } from "../../vmm/config.ts";
import { type Agent, type AgentOptions, startAgent } from "../agent.ts";
import type { ServerLimits } from "../http/limits.ts";
import type { HostNetwork } from "../vms/host-network.ts";
import { nodePlatform } from "./test-platform.ts";

/** Limits that tests can wait for. On a busy machine they also end what is only slow. */
export const SHORT_LIMITS: ServerLimits = {
  connectionsMax: 64,
  idleMs: 600,
  headMs: 300,
  bodyMs: 300,
  writeMs: 500,
  lingerMs: 300,
};

/** Taps as names in a set. */
export class TestNetwork implements HostNetwork {
  readonly taps = new Set<string>();
  /** What running VMs' taps were held to by a change. */
  readonly limits = new Map<string, NetworkLimits>();

  addresses(): { interface: string; address: string }[] {
    return [{ interface: "vswitch0", address: "10.0.2.15" }];
  }

  onAddress(callback: (address: string) => void): void {
    callback("10.0.2.15");
  }

  createTap(vmId: string, index: number): string {
    const name = `tap-${vmId}-${index}`;
    this.taps.add(name);
    return name;
  }

  limitTap(name: string, limits: NetworkLimits): void {
    this.limits.set(name, limits);
  }

  removeTap(name: string): void {
    this.limits.delete(name);
    this.taps.delete(name);
  }
}

export class TestAgent {
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly directory: string,
    readonly agent: Agent,
    readonly network: TestNetwork,
    readonly api: ApiClient,
    readonly log: string[],
  ) {}

  static async start(
    options: Partial<AgentOptions> & { directory?: string; network?: TestNetwork } = {},
  ): Promise<TestAgent> {
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), "thimble-agent-"));
    const network = options.network ?? new TestNetwork();
    const log: string[] = [];
    const agent = await startAgent(nodePlatform(log), network, {
      address: "127.0.0.1",
      port: 0,
      datastore: join(directory, "datastore"),
      runPath: join(directory, "run"),
      vmmCommand: [
        process.execPath,
        "--import",
        "tsx",
        fileURLToPath(new URL("test-vmm.ts", import.meta.url)),
      ],
      initSocket: join(directory, "init.sock"),
      ...options,
    });
    const api = new ApiClient(`http://127.0.0.1:${agent.port}`, agent.token);
    return new TestAgent(directory, agent, network, api, log);
  }

  /** A raw connection to the API. */
  connect(): Socket {
    const socket = connect({ host: "127.0.0.1", port: this.agent.port, allowHalfOpen: true });
    socket.on("error", () => {});
    this.#sockets.add(socket);
    return socket;
  }

  /** Sends text and returns all that comes until the server closes. */
  async exchange(text: string): Promise<string> {
    const socket = this.connect();
    socket.write(text);
    let answer = "";
    for await (const bytes of socket) answer += bytes;
    return answer;
  }

  /** Names in the image directory, unfinished uploads included. */
  imageFiles(): string[] {
    return readdirSync(join(this.directory, "datastore/images")).sort();
  }

  /** Names of run directories. */
  runs(): string[] {
    try {
      return readdirSync(join(this.directory, "run/vms"));
    } catch {
      return [];
    }
  }

  /** A specification that works, with the stand-in's behaviour in the "kernel". */
  async spec(behaviour: object = {}, change: Partial<VmSpec> = {}): Promise<VmSpec> {
    const kernel = `kernel-${Object.keys(behaviour).join("-") || "good"}`;
    await this.api.uploadImage(kernel, Buffer.from(JSON.stringify(behaviour)));
    return { name: "web", cpus: 1, memoryBytes: 64 * 2 ** 20, boot: { kernel }, ...change };
  }

  /** Stops serving; VMM stand-ins go on. */
  abandon(): void {
    this.api.close();
    for (const socket of this.#sockets) socket.destroy();
    this.agent.close();
  }

  async remove(): Promise<void> {
    await this.agent.stopVms(1);
    this.abandon();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
