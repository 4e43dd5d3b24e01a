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
import { writeBenchArchive } from "./archive.ts";
import { readResults, table } from "./figures.ts";
import { parts } from "./measures.ts";
import { circumstances, writeRecord } from "./record.ts";

/** The whole command ends within 20 minutes. */
const benchTimeoutMs = 18 * 60_000;
const estimateMs = 12 * 60_000;
/** Many small guests with their VMMs, and the peers' programs, which lie in memory. */
const serverMemoryBytes = 6 * 1024 ** 3;

/** The parts asked for, in the order in which they stand; all when none is. */
function chosenParts(names: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !parts.includes(name));
  if (unknown !== undefined) {
    throw new ThimbleError("no_such_part", `"${unknown}" is no part; there are ${parts.join(", ")}`);
  }
  return names.length === 0 ? parts : names;
}

/** Waits until all is measured. Returns what went wrong: what had been measured by then is worth showing. */
async function measure(progress: Progress, server: SimulatedServer): Promise<Error | null> {
  try {
    await progress.step("Measure", { estimateMs, logFile: server.logFile }, (detail) => {
      server.console.subscribe((bytes) => {
        const last = /RESULT [^\r\n]+/.exec(Buffer.from(bytes).toString())?.[0];
        if (last !== undefined) detail(last);
      });
      return server.console.waitFor(/^BENCH-COMPLETE/m, benchTimeoutMs);
    });
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

async function main(): Promise<void> {
  const chosen = chosenParts(process.argv.slice(2));
  const progress = new Progress();
  const product = await buildProduct(progress);
  const kind = await accelerator(product);
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
      commandLine: `rdinit=/bench/busybox -- sh /bench/host.sh ${chosen.join(" ")}`,
    },
    accelerator: kind,
    memoryBytes: serverMemoryBytes,
  });
  try {
    const cutShort = await measure(progress, server);
    const { results, missing } = readResults(server.console.since(0), chosen);
    // What docs.ts shows comes from one run.
    if (chosen === parts) writeRecord("bench", { ...circumstances(), accelerator: kind, results });
    progress.say(`\n${table(results)}\n`);
    progress.say(`accelerator ${kind}; log ${server.logFile}`);
    for (const what of missing) progress.say(`not measured: ${what}`);
    progress.say(JSON.stringify({ results }));
    if (cutShort !== null) throw cutShort;
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
