/**
 * `npm test`: lint, types, unit tests, build, end-to-end tests; ends with the line `N passed, N failed`.
 *
 * Arguments: all | unit | e2e | long, then optionally words that file names must contain. Every part runs even if one
 * before it failed, except that there are no end-to-end tests without a build.
 */
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { buildAll } from "../image/build.ts";
import { lastRecord } from "../image/size-record.ts";
import { formatSizeReport, makeSizeReport } from "../image/size-report.ts";
import { repositoryRoot } from "./paths.ts";
import { buildProduct } from "./product.ts";
import { formatDuration, Progress } from "./progress.ts";
import { add, type Counts, checkStage, testFilesStage } from "./testing/test-stage.ts";

const minute = 60_000;
/** How many new seeds a long run tries. */
const SEED_ROUNDS = 8;

/** Test files below a directory, as paths from the repository's root, in a stable order. */
function testFiles(directory: string, words: readonly string[] = []): string[] {
  const entries = readdirSync(join(repositoryRoot, directory), { recursive: true }) as string[];
  return entries
    .filter((path) => path.endsWith(".test.ts"))
    .map((path) => join(directory, path))
    .filter((path) => words.every((word) => path.includes(word)))
    .sort();
}

async function checks(): Promise<Counts> {
  const binary = (name: string): string => join(repositoryRoot, "node_modules/.bin", name);
  const lint = await checkStage("lint and format (biome)", binary("biome"), ["check", "."], 2 * minute);
  return add(lint, await checkStage("types (tsc)", binary("tsc"), ["--noEmit"], 5 * minute));
}

async function unitTests(words: readonly string[]): Promise<Counts> {
  const files = ["src", "bench", "test/structure", "test/framework", "test/fuzz"].flatMap((path) =>
    testFiles(path, words),
  );
  return testFilesStage("unit", files, 10 * minute);
}

/** The tests with generated input, with seeds that nobody has tried. */
async function newSeeds(): Promise<Counts> {
  let counts: Counts = { passed: 0, failed: 0 };
  const files = ["src", "test/fuzz"]
    .flatMap((path) => testFiles(path))
    .filter((path) => readFileSync(join(repositoryRoot, path), "utf8").includes("testSeed()"));
  for (let round = 0; round < SEED_ROUNDS; round++) {
    const seed = randomInt(2 ** 32);
    process.env.THIMBLE_SEED = `${seed}`;
    counts = add(counts, await testFilesStage(`seed-${seed}`, files, 10 * minute));
  }
  delete process.env.THIMBLE_SEED;
  return counts;
}

async function endToEndTests(
  directory: string,
  words: readonly string[],
  timeoutMs: number,
): Promise<Counts> {
  try {
    await buildProduct(new Progress());
  } catch (error) {
    process.stdout.write(`✖ build: ${messageOf(error)}\n`);
    return { passed: 0, failed: 1 };
  }
  return testFilesStage(directory.replace("/", "-"), testFiles(directory, words), timeoutMs);
}

/** What the image is made of. The build keeps it within its budget; this is for people who read the log. */
async function printSize(): Promise<void> {
  try {
    const report = await makeSizeReport(await buildAll(), "flash");
    process.stdout.write(`\n${formatSizeReport(report, await lastRecord())}`);
  } catch (error) {
    process.stdout.write(`\nno size report: ${messageOf(error)}\n`);
  }
}

async function main(what: string, words: readonly string[]): Promise<Counts> {
  const none: Counts = { passed: 0, failed: 0 };
  switch (what) {
    case "unit":
      return unitTests(words);
    case "e2e":
      return endToEndTests("test/e2e", words, 45 * minute);
    case "long": {
      const seeds = words.length === 0 ? await newSeeds() : none;
      return add(seeds, await endToEndTests("test/long", words, 240 * minute));
    }
    case "all": {
      const checked = words.length === 0 ? await checks() : none;
      const unit = await unitTests(words);
      const tested = add(add(checked, unit), await endToEndTests("test/e2e", words, 45 * minute));
      if (words.length === 0) await printSize();
      return tested;
    }
    default:
      throw new Error(`"${what}" is not a kind of test run. Kinds: all, unit, e2e, long.`);
  }
}

const start = performance.now();
const [what = "all", ...words] = process.argv.slice(2);
const counts = await main(what, words);
process.stdout.write(`\n  ${formatDuration(performance.now() - start)}\n`);
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
