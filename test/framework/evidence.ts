/** What tests leave for people to read. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { artifactDirectory } from "./servers.ts";

/** Keeps what a console showed as NAME.txt. */
export function keepText(name: string, text: string): void {
  mkdirSync(artifactDirectory, { recursive: true });
  writeFileSync(join(artifactDirectory, `${name}.txt`), text);
}
