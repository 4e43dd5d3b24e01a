/** The `thimble` command's entry: runs it, and turns errors into a sentence on standard error and an exit status. */
import { CommanderError } from "commander";
import { messageOf } from "../base/errors.ts";
import { thimbleCommand } from "./command.ts";

/** As sysexits.h has it: the command line is wrong. */
const EXIT_USAGE = 64;

try {
  await thimbleCommand({ print: (text) => process.stdout.write(text) }).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are "errors" with exit code 0; commander has printed what there is to say.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else {
    process.stderr.write(`thimble: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
