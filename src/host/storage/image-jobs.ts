/**
 * Runs work on whole images (src/disk/job.ts) in processes of their own: it may take long, and the images may be hostile.
 * A process reports to its log file in lines of JSON.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { CheckReport, ImageJob, JobReport } from "../../disk/job.ts";
import type { ImageFacts } from "../../disk/probe.ts";
import { type Platform, sleep } from "../platform/platform.ts";

type JobPlatform = Pick<Platform, "after" | "files" | "randomHex" | "spawn">;

/** How often the reports are read while a job runs. */
const LOOK_MS = 200;
const SIGKILL = 9;

export class ImageJobs {
  readonly #platform: JobPlatform;
  readonly #directory: string;
  readonly #command: readonly string[];

  /** `directory` is for logs; `command` is a VMM's program and first arguments. */
  constructor(platform: JobPlatform, directory: string, command: readonly string[]) {
    this.#platform = platform;
    this.#directory = directory;
    this.#command = command;
    if (platform.files.tryStat(directory) !== null) platform.files.removeTree(directory);
    platform.files.makeDirectories(directory, 0o700);
  }

  /**
   * Runs a job to its end. `mayGoOn` is asked now and then, and throws what the job is to be ended for. Throws
   * ThimbleError with the job's own code, or "job_failed".
   */
  async run(
    job: ImageJob,
    onPercent: (percent: number) => void = () => {},
    mayGoOn: () => void = () => {},
  ): Promise<ImageFacts | CheckReport | null> {
    const { files, spawn, randomHex } = this.#platform;
    const log = `${this.#directory}/${randomHex(8)}.log`;
    try {
      const process = spawn([...this.#command, "--image-job", JSON.stringify(job)], log);
      let over = false;
      const ended = process.ended.then(() => {
        over = true;
      });
      while (!over) {
        await Promise.race([ended, sleep(this.#platform, LOOK_MS)]);
        if (over) break;
        const report = lastReport(files.readText(log));
        if (report !== null && "percent" in report) onPercent(report.percent);
        try {
          mayGoOn();
        } catch (error) {
          process.kill(SIGKILL);
          await ended;
          throw error;
        }
      }
      const report = lastReport(files.readText(log));
      if (report !== null && "result" in report) return report.result;
      if (report !== null && "error" in report)
        throw new ThimbleError(report.error.code, report.error.message);
      throw new ThimbleError("job_failed", "The work on the image ended without a result.");
    } finally {
      files.tryUnlink(log);
    }
  }
}

/** What the last whole line says; null when there is none, or it is no report. */
function lastReport(text: string): JobReport | null {
  const line = text.split("\n").at(-2);
  try {
    return line === undefined ? null : (JSON.parse(line) as JobReport);
  } catch {
    return null;
  }
}
