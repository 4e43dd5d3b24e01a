/** The `thimble` command: its groups of subcommands. */
import { Command } from "commander";
import { imageCommand } from "./image-command.ts";

/** Where a command's results go. */
export interface Output {
  print(text: string): void;
}

/** Throws what goes wrong; of the command line itself, CommanderError. */
export function thimbleCommand(output: Output): Command {
  // Subcommands inherit only what is set before they are made.
  const command = new Command("thimble")
    .exitOverride()
    .description("A hypervisor that lives in the firmware.");
  return command.addCommand(imageCommand(command, output));
}
