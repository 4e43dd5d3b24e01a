/** Runs build tools. */
import { execFile } from "node:child_process";
import { ThimbleError } from "../../base/errors.ts";

/** Runs a program and returns what it printed. Throws ThimbleError("build_tool_failed") with its error output. */
export function runTool(
  program: string,
  args: readonly string[],
  options: { cwd?: string } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { ...options, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout);
      } else if ((error as NodeJS.ErrnoException).code === "ENOENT") {
        reject(new ThimbleError("build_tool_missing", `${program} is not installed`, { cause: error }));
      } else {
        const output = `${stdout}${stderr}`.trim();
        const command = [program, ...args].join(" ");
        reject(new ThimbleError("build_tool_failed", `${command}\n${output}`, { cause: error }));
      }
    });
  });
}
