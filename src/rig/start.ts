/**
 * `npm start`: build everything, power a simulated server on, run a guest in it and attach the terminal.
 * `npm start -- --once`: the same unattended; ends when the guest has run a command and shut down.
 */
import { messageOf, ThimbleError } from "../base/errors.ts";
import type { ApiClient } from "./api-client.ts";
import { onInterrupt } from "./cleanup.ts";
import { createDemoVm, makeDemoGuest, startGuest, uploadGuest } from "./demo.ts";
import { accelerator, buildProduct } from "./product.ts";
import { Progress, StepError } from "./progress.ts";
import type { NicModel } from "./qemu-arguments.ts";
import { SimulatedServer } from "./server.ts";
import { attachTerminal, escapeHelp } from "./terminal.ts";

/** Longer than any boot seen, also when other programs use the machine's cores. */
const hostReadyTimeoutMs = 120_000;
const guestReadyTimeoutMs = 120_000;

interface StartOptions {
  readonly once: boolean;
  readonly nic: NicModel;
}

function parseArguments(args: readonly string[]): StartOptions {
  let once = false;
  let nic: NicModel = "virtio-net-pci";
  for (const arg of args) {
    const value = /^--nic=(virtio-net-pci|e1000e|igb)$/.exec(arg)?.[1];
    if (arg === "--once") once = true;
    else if (value !== undefined) nic = value as NicModel;
    else {
      throw new ThimbleError(
        "bad_argument",
        `"${arg}" is not an option of npm start. Options: --once, --nic=virtio-net-pci|e1000e|igb.`,
      );
    }
  }
  return { once, nic };
}

/** Powers the server off by its button; a server that does not obey is a failure, not a detail. */
async function powerOff(progress: Progress, server: SimulatedServer): Promise<void> {
  await progress.step("Power the server off", { estimateMs: 3000, logFile: server.logFile }, async () => {
    if (!(await server.powerOff())) {
      throw new ThimbleError(
        "power_off_failed",
        "The server did not power off by its button; its power was cut.",
      );
    }
  });
}

async function main(options: StartOptions): Promise<void> {
  const progress = new Progress();
  const product = await buildProduct(progress);
  const guest = await progress.step("Make a guest", { estimateMs: 30_000 }, makeDemoGuest);
  const chosen = await accelerator(product);

  // From here on there is a machine to power off: an interrupt becomes a decision instead of an exit.
  let interrupt: () => void = () => {};
  const interrupted = new Promise<void>((resolve) => {
    interrupt = resolve;
  });
  const withdraw = onInterrupt(() => interrupt());

  const server = await SimulatedServer.start({
    name: "server",
    boot: product.flash,
    accelerator: chosen,
    nic: options.nic,
  });
  const logFile = server.logFile;
  try {
    const job = runJob(progress, server, options, guest, interrupted);
    const outcome = await Promise.race([job, interrupted.then(() => undefined)]);
    // Interrupted while attached, the job ends by itself and orderly; interrupted before that, it is abandoned.
    job.catch(() => {});
    await powerOff(progress, server);
    if (outcome !== undefined && options.once) {
      const { hostReadyMs, guestReadyMs, vmmMemoryBytes } = outcome;
      const { imageBytes, romBytes } = product;
      const figures = {
        imageBytes,
        romBytes,
        hostReadyMs,
        guestReadyMs,
        vmmMemoryBytes,
        accelerator: chosen,
      };
      process.stdout.write(`${JSON.stringify(figures)}\n`);
    }
    if (outcome === undefined && options.once) process.exitCode = 130;
  } catch (error) {
    if (error instanceof StepError) throw error;
    throw new StepError("npm start", messageOf(error), logFile, { cause: error });
  } finally {
    withdraw();
    await server.cutPower();
  }
}

interface Outcome {
  readonly hostReadyMs: number;
  readonly guestReadyMs: number;
  readonly vmmMemoryBytes: number;
}

/** Everything between power-on and power-off. */
async function runJob(
  progress: Progress,
  server: SimulatedServer,
  options: StartOptions,
  guest: Awaited<ReturnType<typeof makeDemoGuest>>,
  interrupted: Promise<void>,
): Promise<Outcome> {
  const { logFile } = server;
  const step = <T>(name: string, estimateMs: number, work: () => Promise<T>): Promise<T> =>
    progress.step(name, { estimateMs, logFile }, work);

  let hostReadyMs = 0;
  const api: ApiClient = await step("Power the server on, wait for its API", 8000, async () => {
    const client = await server.waitForApi(hostReadyTimeoutMs);
    hostReadyMs = Math.round(performance.now() - server.poweredOnAt);
    return client;
  });
  try {
    await step("Upload guest kernel and disk", 3000, () => uploadGuest(api, guest));
    const vm = await step("Create the VM", 500, () => createDemoVm(api));
    const running = await step("Start the VM, wait for its user space", 8000, () =>
      startGuest(api, vm, guestReadyTimeoutMs),
    );
    const { overheadBytes } = await api.statistics(vm.id);
    const outcome = { hostReadyMs, guestReadyMs: running.readyMs, vmmMemoryBytes: overheadBytes };

    if (options.once) {
      const said = await step("Run a command in the guest", 500, () => running.shell.output("uname -sr"));
      progress.say(`    guest says: ${said}`);
      await step("Shut the guest down", 3000, () => api.act(vm.id, "shutdown"));
    } else {
      progress.say(`\n  API    ${server.apiOrigin}/api/v1`);
      progress.say(`  token  ${server.token}`);
      progress.say(`  log    ${logFile}`);
      progress.say(`  The terminal is now the console of the guest "${vm.name}". ${escapeHelp}\n`);
      running.shell.restoreForPerson();
      const why = await attachTerminal(running.console, running.console.feed.position, interrupted);
      progress.say(`\n  Detached: ${why}.`);
      running.console.vanish();
    }
    return outcome;
  } finally {
    api.close();
  }
}

try {
  await main(parseArguments(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`\nnpm start failed at: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
