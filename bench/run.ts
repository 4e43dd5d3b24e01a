/**
 * `npm run bench`: the same guest under Thimble and under Debian's QEMU, in one simulated server, side by side.
 *
 * The server runs the image's kernel with one more initramfs, whose script (files/host.sh) starts one VMM after the
 * other and prints what it measures; nothing of Thimble but its VMM runs beside it. Last line: one JSON object.
 */
import { join } from "node:path";
import { messageOf } from "../src/base/errors.ts";
import { makeRunDirectory } from "../src/rig/paths.ts";
import { accelerator, buildProduct } from "../src/rig/product.ts";
import { Progress } from "../src/rig/progress.ts";
import { SimulatedServer } from "../src/rig/server.ts";
import { writeBenchArchive } from "./archive.ts";
import { readFigures, table } from "./figures.ts";

const benchTimeoutMs = 20 * 60_000;

async function main(): Promise<void> {
  const progress = new Progress();
  const product = await buildProduct(progress);
  const chosen = await accelerator(product);
  const directory = makeRunDirectory("bench-files");
  const initrd = join(directory.path, "bench.cpio");
  await progress.step("Pack the guest and the peers", { estimateMs: 10_000 }, () =>
    writeBenchArchive(initrd),
  );

  const server = await SimulatedServer.start({
    name: "bench",
    boot: {
      kind: "direct",
      kernel: product.image,
      initrd,
      commandLine: "rdinit=/bench/busybox -- sh /bench/host.sh",
    },
    accelerator: chosen,
    memoryBytes: 4 * 1024 ** 3,
  });
  try {
    await progress.step("Measure", { estimateMs: 3 * 60_000, logFile: server.logFile }, (detail) => {
      server.console.subscribe((bytes) => {
        const last = /RESULT [^\r\n]+/.exec(Buffer.from(bytes).toString())?.[0];
        if (last !== undefined) detail(last);
      });
      return server.console.waitFor(/^BENCH-COMPLETE/m, benchTimeoutMs);
    });
    const figures = readFigures(server.console.since(0));
    progress.say(`\n${table(figures)}\n`);
    progress.say(JSON.stringify({ accelerator: chosen, figures }));
  } finally {
    await server.cutPower();
    directory.remove();
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`\nnpm run bench failed at: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
