/**
 * `thimble vmm --image-job JSON`: work on whole images (src/disk/job.ts), in a process of its own so that neither a large
 * image nor a hostile one holds the host agent up. It shares the VMM's program because it shares its formats.
 */
import { messageOf, ThimbleError } from "../base/errors.ts";
import { type ImageJob, type JobReport, type OpenJobFile, runJob } from "../disk/job.ts";
import { ENOSPC, errnoText, SystemError } from "../sys/errno.ts";
import { endWithParent, forbidNewPrivileges } from "../sys/exec.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, open, writeAll } from "../sys/fs.ts";
import { lockFile } from "../sys/lock.ts";
import { exit, RLIMIT_AS, setResourceLimit } from "../sys/process.ts";
import { RandomAccessFile } from "../sys/random-access-file.ts";
import { utf8Encode } from "../sys/text.ts";

/** The engine's own region and as much again: what a hostile image can make a job take. */
const ADDRESS_SPACE_MAX = 512 * 1024 * 1024;

const FLAGS = { read: O_RDONLY, write: O_RDWR, make: O_RDWR | O_CREAT | O_EXCL } as const;

const openFile: OpenJobFile = (path, mode) => {
  const fd = open(path, FLAGS[mode]);
  if (!lockFile(fd, mode === "read" ? "shared" : "exclusive", path)) {
    throw new ThimbleError(
      "image_in_use",
      `The image "${path.slice(path.lastIndexOf("/") + 1)}" is in use by a VM or another task.`,
    );
  }
  return new RandomAccessFile(fd, path);
};

function report(line: JobReport): void {
  writeAll(1, utf8Encode(`${JSON.stringify(line)}\n`));
}

/** Does the work and ends the process: status 0, or 1 with the reason in the last line. */
export function runImageJob(text: string): never {
  // A job whose agent is gone has nobody who would make use of its result.
  endWithParent();
  forbidNewPrivileges();
  setResourceLimit(RLIMIT_AS, ADDRESS_SPACE_MAX);
  try {
    const job = JSON.parse(text) as ImageJob;
    report({ result: runJob(job, openFile, (percent) => report({ percent })) });
  } catch (error) {
    report({ error: jobError(error) });
    exit(1);
  }
  exit(0);
}

/** What is said of a job that failed: what the caller can understand and act on, without the host's own paths. */
export function jobError(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof SystemError) {
    return error.errno === ENOSPC
      ? { code: "datastore_full", message: "The datastore is full. Delete images that no VM needs." }
      : { code: "io_error", message: `The datastore failed: ${errnoText(error.errno)}.` };
  }
  return {
    code: error instanceof ThimbleError ? error.code : "internal_error",
    message: messageOf(error),
  };
}
