/** What is done to whole images: making, converting, resizing and checking them. A new one appears when it is complete. */
import { messageOf, ThimbleError } from "../../base/errors.ts";
import type { ImageJob, JobFile } from "../../disk/job.ts";
import type { ImageFormat } from "../../disk/probe.ts";
import { RequestError } from "../http/errors.ts";
import type { Platform } from "../platform/platform.ts";
import type { Task, TaskList } from "../tasks/tasks.ts";
import type { ImageJobs } from "./image-jobs.ts";
import type { Image, ImageStore } from "./images.ts";

export interface ConvertRequest {
  /** The new image's name. */
  readonly to: string;
  readonly format: ImageFormat;
  /** Of a VMDK image; default "streamOptimized". */
  readonly kind?: "streamOptimized" | "monolithicSparse" | undefined;
}

export class ImageWork {
  constructor(
    private readonly platform: Pick<Platform, "files" | "randomHex">,
    private readonly images: ImageStore,
    private readonly jobs: ImageJobs,
    private readonly tasks: TaskList,
  ) {}

  /** Makes an empty qcow2 image. Throws RequestError (400, 409). */
  async createQcow2(
    name: string,
    sizeBytes: number | undefined,
    backing: string | undefined,
  ): Promise<Image> {
    const { images } = this;
    images.checkFree(name, "name");
    const base = backing === undefined ? undefined : this.#base(backing);
    const size = sizeBytes ?? base?.virtualSizeBytes;
    if (size === undefined)
      throw new RequestError(400, "invalid_request", "sizeBytes is needed.", "sizeBytes");
    const path = images.partialPath();
    const below = base && { name: base.name, format: base.format };
    try {
      await this.jobs.run({
        op: "create",
        path,
        sizeBytes: size,
        ...(below === undefined ? {} : { backing: below }),
      });
      images.checkFree(name, "name");
      images.commit(path, name, {
        format: "qcow2",
        virtualSizeBytes: size,
        ...(below === undefined ? {} : { backing: below }),
      });
    } catch (error) {
      if (error instanceof RequestError) throw error;
      const code = codeOf(error);
      throw new RequestError(code === "datastore_full" ? 507 : 400, code, messageOf(error), "sizeBytes");
    } finally {
      this.platform.files.tryUnlink(path);
    }
    return images.get(name);
  }

  /** Makes an image of another format, or a copy. Throws RequestError (404, 409). */
  convert(name: string, { to, format, kind }: ConvertRequest): Task {
    const { images } = this;
    const { virtualSizeBytes } = images.get(name);
    images.checkFree(to, "to");
    const { from, backing } = this.#source(name);
    const path = images.partialPath();
    const contentId = Number.parseInt(this.platform.randomHex(4), 16);
    const job: ImageJob = {
      op: "convert",
      from,
      backing,
      to: path,
      format,
      contentId,
      ...(kind === undefined ? {} : { kind }),
    };
    return this.tasks.start("image.convert", { kind: "image", id: name }, async (onPercent) => {
      try {
        await this.jobs.run(job, onPercent, () => images.checkRoom());
        images.checkFree(to, "to");
        images.commit(path, to, { format, virtualSizeBytes });
      } finally {
        this.platform.files.tryUnlink(path);
      }
    });
  }

  /** Makes the disk larger. Throws RequestError (404). */
  resize(name: string, sizeBytes: number): Task {
    const file = this.#file(name);
    return this.tasks.start("image.resize", { kind: "image", id: name }, async () => {
      await this.jobs.run({ op: "resize", file, sizeBytes });
      this.images.noteResized(name, sizeBytes);
    });
  }

  /** Compares an image's tables with each other; the task's result has `leaks` and `errors`. Throws RequestError (404). */
  check(name: string, repair: boolean): Task {
    const file = this.#file(name);
    return this.tasks.start("image.check", { kind: "image", id: name }, async () => {
      return (await this.jobs.run({ op: "check", file, repair })) ?? undefined;
    });
  }

  #file(name: string): JobFile {
    this.images.get(name);
    const format = this.images.knownFormat(name, "name");
    return { path: this.images.path(name), format };
  }

  #source(name: string): { readonly from: JobFile; readonly backing: readonly JobFile[] } {
    const from = this.#file(name);
    return { from, backing: from.format === "qcow2" ? this.images.diskFiles(name, "name").backing : [] };
  }

  #base(name: string): { name: string; format: "raw" | "qcow2"; virtualSizeBytes: number } {
    if (!this.images.has(name)) {
      throw new RequestError(
        400,
        "image_not_found",
        `There is no image "${name}". Upload it first.`,
        "backing",
      );
    }
    const { format } = this.images.diskFiles(name, "backing");
    return { name, format, virtualSizeBytes: this.images.get(name).virtualSizeBytes };
  }
}

function codeOf(error: unknown): string {
  return error instanceof ThimbleError ? error.code : "internal_error";
}
