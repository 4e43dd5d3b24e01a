/**
 * Runs test files in this one process: `node --import tsx run-files.ts FILE…`.
 *
 * node:test would start a process per file, each of which compiles everything anew; end-to-end tests also share
 * simulated servers, which live in one process.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

for (const file of process.argv.slice(2)) {
  await import(pathToFileURL(resolve(file)).href);
}
