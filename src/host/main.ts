/** `thimble agent`: the host agent as a process. */
import { messageOf } from "../base/errors.ts";
import { commandLine } from "../sys/exec.ts";
import { readText, writeAll } from "../sys/fs.ts";
import { EventLoop } from "../sys/loop.ts";
import { exit } from "../sys/process.ts";
import { onUnhandledRejection } from "../sys/rejections.ts";
import { SIGINT, SIGTERM, watchSignals } from "../sys/signals.ts";
import { utf8Encode } from "../sys/text.ts";
import { startAgent } from "./agent.ts";
import { announceApi } from "./announce.ts";
import { parseArguments } from "./command-line.ts";
import { LinuxHostNetwork } from "./network/host-network.ts";
import { linuxPlatform } from "./platform/linux.ts";
import { GUEST_SHUTDOWN_MS } from "./power/host-power.ts";
import { mountRamDatastore } from "./storage/ram-datastore.ts";
import type { HostNetwork } from "./vms/host-network.ts";
import { installWebClasses } from "./web/install.ts";

const EXIT_FAILED = 1;
const RAM_DATASTORE = "/datastores/ram";

installWebClasses();
const loop = new EventLoop();
const platform = linuxPlatform(loop);
const { log } = platform;
const describe = (error: unknown) =>
  error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
// One request that goes wrong in an unforeseen way must not take the others' connections with it.
loop.onError = (error) => log.error(`unexpected: ${describe(error)}`);
onUnhandledRejection((error) => log.error(`unexpected: ${describe(error)}`));

/** For an agent on a machine whose network is not its business. */
const noNetwork: HostNetwork = {
  addresses: () => [{ interface: "lo", address: "127.0.0.1" }],
  createTap: () => {
    throw new Error("this agent was started without the host's network, so VMs have none");
  },
  removeTap: () => {},
};

function startNetwork(runPath: string): HostNetwork {
  return LinuxHostNetwork.start({
    loop,
    log,
    kernelCommandLine: readText("/proc/cmdline"),
    runPath: `${runPath}/network`,
    hostName: "thimble",
  });
}

async function main(): Promise<void> {
  const args = parseArguments(commandLine());
  const network = args.network ? startNetwork(args.runPath) : noNetwork;
  if (args.datastore === RAM_DATASTORE) mountRamDatastore(args.datastore);
  const agent = await startAgent(platform, network, { ...args, vmmCommand: [args.vmmProgram, "vmm"] });
  let stopping = false;
  watchSignals(loop, [SIGTERM, SIGINT], () => {
    if (stopping) return;
    stopping = true;
    log.info("told to stop: shutting VMs down");
    void agent.stopVms(GUEST_SHUTDOWN_MS).then(() => loop.stop());
  });
  announceApi(platform, network, agent.port, agent.token, (line) => writeAll(1, utf8Encode(`${line}\n`)));
}

main().catch((error: unknown) => {
  log.error(messageOf(error));
  exit(EXIT_FAILED);
});
exit(loop.run());
