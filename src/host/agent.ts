/**
 * The host agent: puts the host's parts together, takes over what a former agent left, and serves the API.
 */
import { createApp } from "./api/app.ts";
import { loadToken } from "./auth/token.ts";
import { EventLog } from "./events/events.ts";
import type { ServerLimits } from "./http/limits.ts";
import { HttpServer } from "./http/server.ts";
import { readHost, readMemory } from "./inventory/host.ts";
import type { Platform } from "./platform/platform.ts";
import { HostPower } from "./power/host-power.ts";
import { ImageStore } from "./storage/images.ts";
import { TaskList } from "./tasks/tasks.ts";
import { promisedBytes } from "./vms/admission.ts";
import type { HostNetwork } from "./vms/host-network.ts";
import { VmManager } from "./vms/manager.ts";
import { PageMerging } from "./vms/page-merging.ts";
import { VmStore } from "./vms/store.ts";

export interface AgentOptions {
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Root of the datastore: `images` and `vms` are made in it. */
  readonly datastore: string;
  /** What lives until power-off: token, run directories of VMs. */
  readonly runPath: string;
  /** Program and first arguments of a VMM. */
  readonly vmmCommand: readonly string[];
  /** Where init listens. */
  readonly initSocket: string;
  readonly limits?: ServerLimits;
}

export interface Agent {
  readonly port: number;
  readonly token: string;
  /** Open client connections. */
  readonly connectionCount: number;
  /** Shuts all VMs down, forcing off those that have not followed after `timeoutMs`. */
  stopVms(timeoutMs: number): Promise<void>;
  /** Stops serving; VMs go on. */
  close(): void;
}

/** Starts the agent. Resolves when the API answers; rejects when it cannot. */
export async function startAgent(
  platform: Platform,
  network: HostNetwork,
  options: AgentOptions,
): Promise<Agent> {
  const { files } = platform;
  files.makeDirectories(options.runPath, 0o755);
  const { token, fresh } = loadToken(platform, `${options.runPath}/token`);
  const availableMemory = () => readMemory(files).availableBytes;
  const tasks = new TaskList(platform);
  const events = new EventLog(platform);
  const images = new ImageStore(
    platform,
    `${options.datastore}/images`,
    () => availableMemory() - promisedBytes(vms.running()),
  );
  const vms: VmManager = new VmManager(
    {
      platform,
      tasks,
      events,
      images,
      network,
      merging: new PageMerging(platform),
      store: new VmStore(platform, `${options.datastore}/vms`),
      runPath: `${options.runPath}/vms`,
      vmmCommand: options.vmmCommand,
      availableMemory,
    },
    readMemory(files).totalBytes,
  );
  await vms.recover();
  let bootMs = 0;
  const app = createApp({
    platform,
    token,
    images,
    vms,
    tasks,
    events,
    power: new HostPower(platform, tasks, vms, options.initSocket),
    facts: () => readHost(platform, network, bootMs),
  });
  const server = new HttpServer(
    platform,
    (request, exchange) => app.fetch(request, exchange),
    options.limits,
  );
  const listening = await platform.listenTcp(options.address, options.port, (connection) => {
    void server.serve(connection);
  });
  bootMs = Math.round(platform.uptimeMs());
  if (fresh) events.add("host.booted", { kind: "host", id: "host" }, "The host has booted.");
  return {
    port: listening.port,
    token,
    get connectionCount() {
      return server.connectionCount;
    },
    stopVms: (timeoutMs) => vms.stopAll(timeoutMs),
    close() {
      listening.close();
      server.close();
    },
  };
}
