/**
 * CPU time from the API call to the guest's first instruction: what the agent uses to answer `start`, and what the VMM
 * has used when the guest runs. Both are the image's programs with its runtime and KVM, natively on this machine.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ThimbleError } from "../../src/base/errors.ts";
import { buildRuntime } from "../../src/image/runtime/build.ts";
import { developmentEngine } from "../../src/image/runtime/development.ts";
import { cloudKernelPackage } from "../../src/image/sources.ts";
import { ApiClient } from "../../src/rig/api-client.ts";
import { findFreePort } from "../../src/rig/free-port.ts";
import { eventually } from "../../src/rig/time.ts";

const STARTS = 15;
const MEMORY_BYTES = 256 * 2 ** 20;
const DEBIAN = "bookworm";
const RUNNING = /: running with .* after ([\d.]+) ms of CPU time/;
const ANNOUNCEMENT = /^thimble: api \S+ token ([0-9a-f]{64})$/m;

/** False where nothing can be measured: this machine has no KVM for us. */
export function canStartNatively(): boolean {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Microseconds of CPU, the median of several starts. `directory` is for the program and its datastore. */
export async function measureStart(directory: string): Promise<number> {
  const source = (path: string) => join(import.meta.dirname, "../../src", path);
  const bundles = { agent: source("host/main.ts"), vmm: source("vmm/main.ts") };
  const { path } = await buildRuntime({ ...(await developmentEngine()), outDir: directory, bundles });
  const boot = join(await cloudKernelPackage(DEBIAN), "boot");
  const kernel = readdirSync(boot).find((name) => name.startsWith("vmlinuz-"));
  if (kernel === undefined) throw new ThimbleError("no_kernel", `${boot} has no kernel`);

  const port = await findFreePort();
  const at = (name: string) => join(directory, name);
  // In memory, as on a host.
  const run = mkdtempSync("/dev/shm/thimble-run-");
  const agent = spawn(path, [
    ...["agent", "--address", "127.0.0.1", "--port", String(port), "--no-network"],
    ...["--datastore", at("store"), "--run", run, "--init-socket", at("init.sock")],
  ]);
  try {
    const api = new ApiClient(`http://127.0.0.1:${port}`, await tokenOf(agent));
    await api.uploadImage("kernel", readFileSync(join(boot, kernel)));
    const vm = await api.createVm({
      name: "start",
      cpus: 1,
      memoryBytes: MEMORY_BYTES,
      boot: { kernel: "kernel" },
    });
    const times: number[] = [];
    const log = join(run, "vms", vm.id, "vmm.log");
    for (let i = 0; i < STARTS; i++) times.push(await startOnce(api, vm.id, agent.pid as number, log));
    api.close();
    return times.sort((a, b) => a - b)[STARTS >> 1] as number;
  } finally {
    agent.kill("SIGTERM");
    await once(agent, "exit");
    rmSync(run, { recursive: true });
  }
}

async function startOnce(api: ApiClient, id: string, agentPid: number, log: string): Promise<number> {
  const before = cpuUs(agentPid);
  const started = api.act(id, "start");
  // The VMM says so right after the guest's first instruction, which is another thread's.
  const vmmMs = await eventually(10_000, "the guest to run", async () => RUNNING.exec(readIfThere(log))?.[1]);
  const usedUs = cpuUs(agentPid) - before + Number(vmmMs) * 1000;
  await started;
  await api.act(id, "force-off");
  return usedUs;
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** CPU time of a process's main thread so far. */
function cpuUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000;
}

function tokenOf(agent: ChildProcess): Promise<string> {
  let output = "";
  for (const stream of [agent.stdout, agent.stderr]) {
    stream?.on("data", (bytes) => {
      output += bytes;
    });
  }
  return eventually(10_000, "the agent's address", async () => ANNOUNCEMENT.exec(output)?.[1]);
}
