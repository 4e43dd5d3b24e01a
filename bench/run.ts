/**
 * `npm run bench [-- PART...]`: the same guests under Thimble and under Debian's QEMU, in one simulated server, side by
 * side.
 *
 * The server runs the image's kernel with one more initramfs, whose script (files/host.sh) starts one VMM after the
 * other and prints what it measures; nothing of Thimble but its VMM runs beside it. Last line: one JSON object. The run
 * fails when something was not measured, never on speed.
 */
import { join } from "node:path";
import { messageOf, ThimbleError } from "../src/base/errors.ts";
import { makeRunDirectory } from "../src/rig/paths.ts";
import { accelerator, buildProduct } from "../src/rig/product.ts";
import { Progress } from "../src/rig/progress.ts";
import { SimulatedServer } from "../src/rig/server.ts";
import { partNames, writeBenchArchive } from "./archive.ts";
import { readResults, table } from "./figures.ts";
import { circumstances, writeRecord } from "./record.ts";

const benchTimeoutMs = 20 * 60_000;
const estimateMs = 12 * 60_000;
/** Many small guests with their VMMs, and the peers' programs, which lie in memory. */
const serverMemoryBytes = 6 * 1024 ** 3;

/** The parts asked for, in the order in which they stand; all when none is. */
function chosenParts(names: readonly string[]): string[] {
  const known = partNames();
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ThimbleError("no_such_part", `"${unknown}" is no part; there are ${known.join(", ")}`);
  }
  return names.length === 0 ? known : [...names];
}

async function main(): Promise<void> {
  const parts = chosenParts(process.argv.slice(2));
  const progress = new Progress();
  const product = await buildProduct(progress);
  const chosen = await accelerator(product);
  const directory = makeRunDirectory("bench-files");
  const initrd = join(directory.path, "bench.cpio");
  await progress.step("Pack the guests and the peers", { estimateMs: 10_000 }, () =>
    writeBenchArchive(initrd),
  );

  const server = await SimulatedServer.start({
    name: "bench",
    boot: {
      kind: "direct",
      kernel: product.image,
      initrd,
      commandLine: `rdinit=/bench/busybox -- sh /bench/host.sh ${parts.join(" ")}`,
    },
    accelerator: chosen,
    memoryBytes: serverMemoryBytes,
  });
  try {
    await progress.step("Measure", { estimateMs, logFile: server.logFile }, (detail) => {
      server.console.subscribe((bytes) => {
        const last = /RESULT [^\r\n]+/.exec(Buffer.from(bytes).toString())?.[0];
        if (last !== undefined) detail(last);
      });
      return server.console.waitFor(/^BENCH-COMPLETE/m, benchTimeoutMs);
    });
    const { results, missing } = readResults(server.console.since(0), parts);
    writeRecord("bench", { ...circumstances(), accelerator: chosen, results });
    progress.say(`\n${table(results)}\n`);
    progress.say(`accelerator ${chosen}; log ${server.logFile}`);
    for (const what of missing) progress.say(`not measured: ${what}`);
    progress.say(JSON.stringify({ results }));
    if (missing.length > 0) process.exitCode = 1;
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
