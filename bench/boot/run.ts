/**
 * `npm run bench:boot`: from power-on to the API, of simulated servers with nothing but their flash and a NIC, beside the
 * same machine starting Debian's cloud kernel with a script as its only program, the floor. Last line: one JSON object.
 * The run fails when something was not measured, never on speed.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, ThimbleError } from "../../src/base/errors.ts";
import { cpioArchive } from "../../src/image/cpio.ts";
import { cloudKernelPackage } from "../../src/image/sources.ts";
import type { Accelerator } from "../../src/rig/accelerator.ts";
import { directoryEntry, fileEntry, programEntry } from "../../src/rig/guest/archive-entries.ts";
import { busyboxPath } from "../../src/rig/guest/packages.ts";
import { makeRunDirectory } from "../../src/rig/paths.ts";
import { accelerator, buildProduct } from "../../src/rig/product.ts";
import { Progress } from "../../src/rig/progress.ts";
import type { BootSource } from "../../src/rig/qemu-arguments.ts";
import { SimulatedServer } from "../../src/rig/server.ts";

const RUNS = 7;
const TIMEOUT_MS = 120_000;
/** Its kernel is of the same series as the image's. */
const FLOOR_SUITE = "trixie";

/** Milliseconds of one boot. */
interface Boot {
  /** From power-on to the kernel's start: UEFI, and unpacking the kernel. */
  readonly firmware: number;
  /** From the kernel's start to init's. */
  readonly kernel: number;
  /** From init's start until the agent serves the API. */
  readonly userSpace: number;
  /** From there until the host has an address by DHCP, and says where its API is. */
  readonly address: number;
}

/** Boots of Thimble from `boot`, one after the other. */
async function bootOnce(name: string, boot: BootSource, kind: Accelerator): Promise<Boot> {
  const server = await SimulatedServer.start({ name, boot, accelerator: kind });
  try {
    const line = (pattern: RegExp) => server.console.waitFor(pattern, TIMEOUT_MS);
    const { match: init } = await line(/\[ *([\d.]+)\] init: Thimble \S+, (\d+) ms after the kernel started/);
    const initAt = performance.now() - server.poweredOnAt;
    const { match: booted } = await line(/\[ *([\d.]+)\] agent: host\.booted/);
    const { match: address } = await line(/\[ *([\d.]+)\] agent: network: \d/);
    const stamp = (match: RegExpMatchArray) => Number(match[1]) * 1000;
    const kernel = Number(init[2]);
    return {
      firmware: initAt - kernel,
      kernel,
      userSpace: stamp(booted) - stamp(init),
      address: stamp(address) - stamp(booted),
    };
  } finally {
    await server.cutPower();
  }
}

/** Milliseconds from the kernel's start to its first program, of Debian's kernel without firmware. */
async function floorOnce(boot: BootSource, kind: Accelerator): Promise<number> {
  const server = await SimulatedServer.start({ name: "bench-boot-floor", boot, accelerator: kind });
  try {
    const { match } = await server.console.waitFor(/FLOOR ([\d.]+)/, TIMEOUT_MS);
    return Number(match[1]) * 1000;
  } finally {
    await server.cutPower();
  }
}

/** Debian's kernel and an initramfs that says how long the kernel has been running. */
async function floorBoot(directory: string): Promise<BootSource> {
  const bootDirectory = join(await cloudKernelPackage(FLOOR_SUITE), "boot");
  const kernel = readdirSync(bootDirectory).find((name) => name.startsWith("vmlinuz-"));
  if (kernel === undefined) throw new ThimbleError("no_kernel", `${bootDirectory} has no kernel`);
  const script =
    "/bin/busybox mount -t proc p /proc; read up rest < /proc/uptime; echo FLOOR $up; /bin/busybox sleep 60\n";
  const initrd = join(directory, "floor.cpio");
  const busybox = readFileSync(await busyboxPath());
  const entries = [directoryEntry("proc"), directoryEntry("bin"), programEntry("bin/busybox", busybox)];
  writeFileSync(initrd, cpioArchive([...entries, fileEntry("floor.sh", Buffer.from(script))]));
  const commandLine = "console=ttyS0 quiet rdinit=/bin/busybox -- sh /floor.sh";
  return { kind: "direct", kernel: join(bootDirectory, kernel), initrd, commandLine };
}

/** The middle one, and how far the others lie apart. */
function middle(values: readonly number[]): { median: number; spread: number } {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: sorted[sorted.length >> 1] as number,
    spread: (sorted.at(-1) as number) - (sorted[0] as number),
  };
}

async function main(): Promise<void> {
  const progress = new Progress();
  const product = await buildProduct(progress);
  const kind = await accelerator(product);
  const directory = makeRunDirectory("bench-boot-files");
  try {
    const floor = await floorBoot(directory.path);
    const boots: Boot[] = [];
    const singles: Boot[] = [];
    const floors: number[] = [];
    await progress.step("Measure", { estimateMs: 120_000 }, async (detail) => {
      for (let run = 1; run <= RUNS; run++) {
        detail(`boot ${run} of ${RUNS}`);
        boots.push(await bootOnce("bench-boot", product.flash, kind));
        singles.push(await bootOnce("bench-boot-single", product.singleSlot, kind));
        floors.push(await floorOnce(floor, kind));
      }
    });
    report(boots, singles, floors);
  } finally {
    directory.remove();
  }
}

function report(boots: readonly Boot[], singles: readonly Boot[], floors: readonly number[]): void {
  const total = ({ firmware, kernel, userSpace, address }: Boot) => firmware + kernel + userSpace + address;
  const floor = middle(floors).median;
  const lines: [string, string, readonly number[], number?][] = [
    ["boot-firmware", "UEFI, unpacking the kernel", boots.map((boot) => boot.firmware)],
    ["boot-kernel", "kernel", boots.map((boot) => boot.kernel), floor],
    ["boot-user-space", "init to API served", boots.map((boot) => boot.userSpace)],
    ["boot-address", "address by DHCP", boots.map((boot) => boot.address)],
    ["boot-total", "power-on to API known", boots.map(total)],
    ["boot-total-single-slot", "the same from a single slot", singles.map(total)],
  ];
  const results = lines.map(([name, title, values, peer]) => {
    const { median, spread } = middle(values);
    const beside =
      peer === undefined
        ? ""
        : `   Debian's cloud kernel ${peer.toFixed(0)}, ratio ${(median / peer).toFixed(2)}`;
    process.stdout.write(
      `${title.padEnd(28)} ${median.toFixed(0).padStart(6)} ms  ± ${(spread / 2).toFixed(0)}${beside}\n`,
    );
    const peers = peer === undefined ? {} : { "debian-cloud": peer };
    return { name, thimble: median, peers, unit: "ms", betterIs: "lower" };
  });
  process.stdout.write(`\n${JSON.stringify({ results })}\n`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
