/** `npm run size`: builds what is out of date and prints what the image is made of. Fails when it is over its budget. */
import { messageOf } from "../base/errors.ts";
import { buildAll } from "./build.ts";
import { showProgress } from "./show-progress.ts";
import { formatSizeReport, makeSizeReport, withinBudget } from "./size-report.ts";

try {
  const built = await buildAll({ profile: "flash", onProgress: showProgress });
  const report = await makeSizeReport(built, "flash");
  process.stdout.write(formatSizeReport(report));
  process.exitCode = withinBudget(report) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
