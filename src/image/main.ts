/**
 * The build by hand:
 *   node --import tsx src/image/main.ts build                        build what is out of date
 *   node --import tsx src/image/main.ts size                         what the image is made of
 */
import { messageOf } from "../base/errors.ts";
import { buildAll } from "./build.ts";
import { showProgress } from "./show-progress.ts";

/** Returns the exit code. */
async function run(command: string | undefined): Promise<number> {
  if (command === "build") {
    const built = await buildAll({ onProgress: showProgress });
    process.stdout.write(`${JSON.stringify(built, null, 2)}\n`);
    return 0;
  }
  if (command === "size") {
    await import("./size.ts");
    return Number(process.exitCode ?? 0);
  }
  process.stderr.write("usage: main.ts build | size\n");
  return 64;
}

try {
  process.exitCode = await run(process.argv[2]);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
