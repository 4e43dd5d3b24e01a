/** What releases of the image were made of: docs/image-size.json, to compare with (src/image/size-report.ts). */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ThimbleError } from "../base/errors.ts";
import { repositoryRoot } from "./profile.ts";
import type { SizeReport } from "./size-report.ts";

export interface SizeRecord {
  readonly version: string;
  readonly imageBytes: number;
  /** Bytes in the image by the line's name in the report. */
  readonly lines: Readonly<Record<string, number>>;
}

const RECORD_FILE = join(repositoryRoot, "docs/image-size.json");

/** What is remembered of a report. */
export function recordOf(version: string, report: SizeReport): SizeRecord {
  const lines = [...report.kernel, ...report.userland].map(
    ({ name, imageBytes }) => [name, imageBytes] as const,
  );
  return { version, imageBytes: report.imageBytes, lines: Object.fromEntries(lines) };
}

/** The record of the last release; undefined when there is none yet. Throws ThimbleError("bad_size_record"). */
export async function lastRecord(path = RECORD_FILE): Promise<SizeRecord | undefined> {
  return (await readRecords(path)).at(-1);
}

/** Remembers a release, in the place of an older record of the same version. */
export async function writeRecord(record: SizeRecord, path = RECORD_FILE): Promise<void> {
  const others = (await readRecords(path)).filter(({ version }) => version !== record.version);
  await writeFile(path, `${JSON.stringify([...others, record], null, 2)}\n`);
}

async function readRecords(path: string): Promise<SizeRecord[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  try {
    return JSON.parse(text) as SizeRecord[];
  } catch (error) {
    throw new ThimbleError("bad_size_record", `${path} is no JSON: take it from Git again.`, {
      cause: error,
    });
  }
}
