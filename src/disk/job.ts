/**
 * Work on whole images that takes its time: making, converting, resizing, checking. Done by a process of its own, which
 * is told what to do in JSON (`ImageJob`) and reports in lines of JSON (`JobReport`).
 */
import { ThimbleError } from "../base/errors.ts";
import { copyDisk } from "./copy.ts";
import type { DiskImage, ImageFile } from "./image-file.ts";
import { type ImageFacts, type ImageFormat, probe } from "./probe.ts";
import { createQcow2 } from "./qcow2/create.ts";
import { Qcow2Image } from "./qcow2/image.ts";
import { growQcow2 } from "./qcow2/resize.ts";
import { RawImage } from "./raw.ts";
import { VmdkImage } from "./vmdk/image.ts";
import { type VmdkKind, writeVmdk } from "./vmdk/write.ts";

/** A file and its format, which is known and not guessed. */
export interface JobFile {
  readonly path: string;
  readonly format: ImageFormat;
}

export type ImageJob =
  /** What an image is, by its content. */
  | { readonly op: "probe"; readonly path: string }
  | {
      readonly op: "create";
      readonly path: string;
      readonly sizeBytes: number;
      readonly backing?: { readonly name: string; readonly format: "raw" | "qcow2" };
    }
  | {
      readonly op: "convert";
      readonly from: JobFile;
      /** What `from` is based on, the nearest first. */
      readonly backing: readonly JobFile[];
      readonly to: string;
      readonly format: ImageFormat;
      /** Of a VMDK image. */
      readonly kind?: VmdkKind;
      readonly contentId: number;
    }
  | { readonly op: "resize"; readonly file: JobFile; readonly sizeBytes: number }
  | { readonly op: "check"; readonly file: JobFile; readonly repair: boolean };

export interface CheckReport {
  /** Clusters that are counted as used and are not. */
  readonly leaks: number;
  /** Clusters that are used more than they are counted. */
  readonly errors: number;
}

export type JobReport =
  | { readonly percent: number }
  | { readonly result: ImageFacts | CheckReport | null }
  | { readonly error: { readonly code: string; readonly message: string } };

/** Opens files, and locks them: against writers when they are read, against all others when they are written. */
export type OpenJobFile = (path: string, mode: "read" | "write" | "make") => ImageFile;

/** Throws ThimbleError or what files throw. */
export function runJob(
  job: ImageJob,
  open: OpenJobFile,
  onPercent: (percent: number) => void,
): ImageFacts | CheckReport | null {
  switch (job.op) {
    case "probe":
      return probe(open(job.path, "read"));
    case "create":
      createQcow2(open(job.path, "make"), job);
      return null;
    case "convert":
      convert(job, open, onPercent);
      return null;
    case "resize":
      resize(job, open);
      return null;
    case "check":
      return check(job, open);
  }
}

function convert(
  job: ImageJob & { readonly op: "convert" },
  open: OpenJobFile,
  onPercent: (percent: number) => void,
): void {
  let source: DiskImage | null = null;
  for (const file of [job.from, ...job.backing].reverse()) source = openForReading(file, open, source);
  const from = source as DiskImage;
  const file = open(job.to, "make");
  let told = 0;
  const onProgress = (done: number) => {
    const percent = Math.floor((100 * done) / Math.max(1, from.sizeBytes));
    if (percent > told) onPercent(percent);
    told = percent;
  };
  if (job.format === "vmdk") {
    writeVmdk(from, file, job.kind ?? "streamOptimized", job.contentId, onProgress);
  } else if (job.format === "qcow2") {
    createQcow2(file, { sizeBytes: from.sizeBytes });
    const to = new Qcow2Image(file);
    copyDisk(from, to, onProgress);
    to.close();
  } else {
    file.truncate(from.sizeBytes);
    copyDisk(from, new RawImage(file), onProgress);
  }
}

function openForReading({ path, format }: JobFile, open: OpenJobFile, backing: DiskImage | null): DiskImage {
  const file = open(path, "read");
  if (format === "qcow2") return new Qcow2Image(file, { readOnly: true, backing });
  return format === "vmdk" ? new VmdkImage(file) : new RawImage(file, { readOnly: true });
}

function resize({ file, sizeBytes }: ImageJob & { readonly op: "resize" }, open: OpenJobFile): void {
  const opened = open(file.path, "write");
  if (file.format === "qcow2") {
    growQcow2(opened, sizeBytes);
  } else if (file.format === "vmdk") {
    throw new ThimbleError("not_supported", "VMDK images are not resized. Convert the image first.");
  } else if (sizeBytes < opened.sizeBytes) {
    throw new ThimbleError(
      "bad_size",
      `The disk has ${opened.sizeBytes} bytes, and does not become smaller.`,
    );
  } else {
    opened.truncate(sizeBytes);
    opened.flush();
  }
}

function check({ file, repair }: ImageJob & { readonly op: "check" }, open: OpenJobFile): CheckReport {
  if (file.format !== "qcow2") return { leaks: 0, errors: 0 };
  const opened = open(file.path, repair ? "write" : "read");
  const image = new Qcow2Image(opened, { readOnly: !repair, tablesOnly: true });
  const report = image.check();
  if (repair) {
    image.repair();
    image.finish();
  }
  return report;
}
