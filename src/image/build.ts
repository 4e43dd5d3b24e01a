/** Builds everything: sources → kernel → runtime → initramfs → image → ROM. Steps whose inputs are unchanged are skipped. */
import { ThimbleError } from "../base/errors.ts";

/** Which kernel fragments and which budget. */
export type Profile = "flash";

/** What a build step tells while it runs (about once a second) and when it ends. */
export interface BuildProgress {
  /** A few words: "Kernel", "Flash ROM". */
  readonly step: string;
  readonly state: "running" | "done" | "unchanged";
  readonly elapsedMs: number;
  /** How long the step took the last time on this machine, or a guess before that. */
  readonly estimateMs: number;
  /** What it is at, if there is more to say: "CC kernel/fork.o". */
  readonly detail?: string;
}

export interface BuildOptions {
  /** Default "flash". */
  readonly profile?: Profile;
  readonly onProgress?: (progress: BuildProgress) => void;
  /** Default: build/ in the repository. */
  readonly outDirectory?: string;
}

/** What was built. All paths are absolute. */
export interface BuildResult {
  /** The image: one PE file (EFI stub), which is also a bzImage. */
  readonly imagePath: string;
  readonly imageBytes: number;
  /** The flash's code part with the image in it; QEMU's pflash unit 0, read-only. */
  readonly romCodePath: string;
  /** The flash's variables as they leave the factory; QEMU's pflash unit 1, to be copied per server. */
  readonly romVarsPath: string;
  /** Both parts together: the size of the flash chip. */
  readonly romBytes: number;
  /** Bytes by which the image could still grow at the ROM's give-up level. */
  readonly romFreeBytes: number;
  /** Each step's log, for error messages. */
  readonly logDirectory: string;
}

export async function buildAll(_options: BuildOptions = {}): Promise<BuildResult> {
  throw new ThimbleError("build_not_ready", "The build is being written; only its types are final.");
}
