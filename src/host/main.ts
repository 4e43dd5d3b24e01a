/** `thimble agent`: the host agent as a process. */
import { messageOf, ThimbleError } from "../base/errors.ts";
import { readVariable, replaceVariable } from "../sys/efi-variables.ts";
import { commandLine } from "../sys/exec.ts";
import { readText, writeAll } from "../sys/fs.ts";
import { trimHeapRegularly } from "../sys/heap.ts";
import { EventLoop } from "../sys/loop.ts";
import { exit } from "../sys/process.ts";
import { onUnhandledRejection } from "../sys/rejections.ts";
import { SIGINT, SIGTERM, watchSignals } from "../sys/signals.ts";
import { utf8Encode } from "../sys/text.ts";
import { startAgent } from "./agent.ts";
import { parseArguments } from "./command-line.ts";
import { confirmBootBank } from "./firmware/boot-bank.ts";
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
trimHeapRegularly(loop);
const platform = linuxPlatform(loop);
const { log } = platform;
const describe = (error: unknown) =>
  error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
// One request that goes wrong in an unforeseen way must not take the others' connections with it.
loop.onError = (error) => log.error(`unexpected: ${describe(error)}`);
onUnhandledRejection((error) => log.error(`unexpected: ${describe(error)}`));

/** For trying the agent on a machine whose network is not its business. */
const noNetwork: HostNetwork = {
  addresses: () => [],
  onAddress: (callback) => callback("127.0.0.1"),
  createTap: () => {
    throw new ThimbleError(
      "no_network",
      "This agent was started without the host's network, so VMs have none.",
    );
  },
  removeTap: () => {},
  limitTap: () => {},
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

/** The line that people read and that the rig waits for (docs/api.md). */
function announce(address: string, port: number, token: string): void {
  const origin = `http://${address}${port === 80 ? "" : `:${port}`}`;
  writeAll(1, utf8Encode(`thimble: api ${origin}/api/v1 token ${token}\n`));
}

/** The API answers: what the host was started from is good. */
function confirmBank(): void {
  try {
    const { news, bank } = confirmBootBank({ read: readVariable, replace: replaceVariable });
    if (news === "confirmed") log.info(`boot bank ${bank} is confirmed`);
    if (news === "fallen-back")
      log.warn(`boot bank ${bank} runs, because the one that was chosen did not start`);
  } catch (error) {
    log.error(`the boot bank is not confirmed: ${messageOf(error)}`);
  }
}

async function main(): Promise<void> {
  const args = parseArguments(commandLine());
  const network = args.network ? startNetwork(args.runPath) : noNetwork;
  if (args.datastore === RAM_DATASTORE) mountRamDatastore(args.datastore);
  const agent = await startAgent(platform, network, { ...args, vmmCommand: [args.vmmProgram, "vmm"] });
  confirmBank();
  let stopping = false;
  watchSignals(loop, [SIGTERM, SIGINT], () => {
    if (stopping) return;
    stopping = true;
    log.info("told to stop: shutting VMs down");
    void agent.stopVms(GUEST_SHUTDOWN_MS).then(() => loop.stop());
  });
  const told = new Set<string>(); // a lease that is renewed brings no news
  network.onAddress((address) => {
    if (!told.has(address)) announce(address, agent.port, agent.token);
    told.add(address);
  });
}

main().catch((error: unknown) => {
  log.error(messageOf(error));
  exit(EXIT_FAILED);
});
exit(loop.run());
