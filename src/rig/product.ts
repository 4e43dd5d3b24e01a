/** The built product, as the rig uses it. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BuildResult, buildAll } from "../image/build.ts";
import { type Accelerator, chooseAccelerator } from "./accelerator.ts";
import { cpioArchive } from "./guest/cpio.ts";
import { unpackedPackage } from "./guest/packages.ts";
import { makeRunDirectory } from "./paths.ts";
import type { Progress } from "./progress.ts";
import type { BootSource } from "./qemu-arguments.ts";
import { SimulatedServer } from "./server.ts";

export interface Product {
  /** The image: one PE file, which is also a bzImage. */
  readonly image: string;
  readonly imageBytes: number;
  /** Code and variables, both of which occupy the flash chip. */
  readonly romBytes: number;
  /** The way a real server starts it. */
  readonly flash: BootSource;
}

/** Builds everything that is out of date. */
export async function buildProduct(progress: Progress): Promise<Product> {
  return describeProduct(await buildAll({ onProgress: (text) => progress.detail(text) }));
}

function describeProduct(built: BuildResult): Product {
  return {
    image: built.image.path,
    imageBytes: statSync(built.image.path).size,
    romBytes: statSync(built.rom.code).size + statSync(built.rom.variables).size,
    flash: { kind: "flash", code: built.rom.code, variables: built.rom.variables },
  };
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
  const busybox = readFileSync(join(await unpackedPackage("busybox-static", "bookworm"), "bin/busybox"));
  const initrd = join(directory.path, "probe.cpio");
  const script =
    "/bin/busybox mount -t devtmpfs d /dev; [ -c /dev/kvm ] && echo NESTED-KVM-WORKS; echo PROBE-DONE\n";
  writeFileSync(
    initrd,
    cpioArchive([
      { path: "dev", kind: "directory" },
      { path: "bin", kind: "directory" },
      { path: "bin/busybox", kind: "file", permissions: 0o755, content: busybox },
      { path: "probe.sh", kind: "file", content: script },
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
