/** The built product, as the rig uses it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { type BuildProgress, buildAll } from "../image/build.ts";
import { cpioArchive } from "../image/cpio.ts";
import { type Accelerator, chooseAccelerator } from "./accelerator.ts";
import { directoryEntry, fileEntry, programEntry } from "./guest/archive-entries.ts";
import { busyboxPath } from "./guest/packages.ts";
import { makeRunDirectory } from "./paths.ts";
import { formatDuration, type Progress, StepError } from "./progress.ts";
import type { FlashSource } from "./qemu-arguments.ts";
import { SimulatedServer } from "./server.ts";

export interface Product {
  /** The image: one PE file, which is also a bzImage. */
  readonly image: string;
  readonly imageBytes: number;
  /** The flash chip: UEFI, its variables, two banks. */
  readonly romBytes: number;
  /** The way a real server starts it: two banks below the firmware, and a boot selector. */
  readonly flash: FlashSource;
  /** The other way: a flash of 4 MiB, the image in the firmware's own volume. */
  readonly singleSlot: FlashSource;
}

/** Builds everything that is out of date, showing each step. Errors: StepError. */
export async function buildProduct(progress: Progress): Promise<Product> {
  let last: BuildProgress | undefined;
  const show = (now: BuildProgress): void => {
    last = now;
    if (now.state === "running") progress.running(now.step, now.elapsedMs, now.estimateMs, now.detail);
    else
      progress.ended(now.step, "✓", now.state === "unchanged" ? "unchanged" : formatDuration(now.elapsedMs));
  };
  try {
    const built = await buildAll({ onProgress: show });
    return {
      image: built.imagePath,
      imageBytes: built.imageBytes,
      romBytes: built.twoBankBytes,
      flash: { kind: "flash", code: built.twoBankCodePath, variables: built.twoBankVarsPath },
      singleSlot: { kind: "flash", code: built.romCodePath, variables: built.romVarsPath },
    };
  } catch (error) {
    const step = last?.state === "running" ? `Build, ${last.step}` : "Build";
    throw new StepError(step, messageOf(error), undefined, { cause: error });
  }
}

/** A probe under KVM is short; where it is not, TCG is the better choice anyway. */
const probeTimeoutMs = 20_000;

/** The accelerator for simulated servers on this machine. */
export function accelerator(product: Product): Promise<Accelerator> {
  return chooseAccelerator(() => kvmWorksInside(product));
}

/** Boots the image's kernel under KVM with a program of one line that looks for a /dev/kvm of its own. */
async function kvmWorksInside(product: Product): Promise<boolean> {
  const directory = makeRunDirectory("kvm-probe-files");
  const busybox = readFileSync(await busyboxPath());
  const initrd = join(directory.path, "probe.cpio");
  const script =
    "/bin/busybox mount -t devtmpfs d /dev; [ -c /dev/kvm ] && echo NESTED-KVM-WORKS; echo PROBE-DONE\n";
  writeFileSync(
    initrd,
    cpioArchive([
      directoryEntry("dev"),
      directoryEntry("bin"),
      programEntry("bin/busybox", busybox),
      fileEntry("probe.sh", Buffer.from(script)),
    ]),
  );
  const server = await SimulatedServer.start({
    name: "kvm-probe",
    accelerator: "kvm",
    memoryBytes: 512 * 1024 * 1024,
    boot: {
      kind: "direct",
      kernel: product.image,
      initrd,
      commandLine: "rdinit=/bin/busybox -- sh /probe.sh",
    },
  });
  try {
    const { match } = await server.console.waitFor(/NESTED-KVM-WORKS|PROBE-DONE/, probeTimeoutMs);
    return match[0] === "NESTED-KVM-WORKS";
  } finally {
    await server.cutPower();
    directory.remove();
  }
}
