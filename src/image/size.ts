/**
 * `npm run size`: builds what is out of date and prints what the image is made of. Fails when it is over its budget.
 * `npm run size -- --record`, once for each release, remembers it for comparison (docs/image-size.json).
 */
import { messageOf } from "../base/errors.ts";
import { buildAll } from "./build.ts";
import { readIdentity } from "./identity.ts";
import { repositoryRoot } from "./profile.ts";
import { showProgress } from "./show-progress.ts";
import { lastRecord, recordOf, writeRecord } from "./size-record.ts";
import { formatSizeReport, makeSizeReport, withinBudget } from "./size-report.ts";

try {
  const built = await buildAll({ profile: "flash", onProgress: showProgress });
  const report = await makeSizeReport(built, "flash");
  process.stdout.write(formatSizeReport(report, await lastRecord()));
  if (process.argv.includes("--record")) {
    await writeRecord(recordOf((await readIdentity(repositoryRoot)).version, report));
  }
  process.exitCode = withinBudget(report) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
