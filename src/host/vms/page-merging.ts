/**
 * The kernel's page merging (KSM), which costs CPU time and therefore runs only while a VM wants it. Its advisor
 * sets the pace. Merged pages are a VM's own again as soon as it writes to them, and end with it.
 */
import { messageOf } from "../../base/errors.ts";
import { O_WRONLY } from "../../sys/fs.ts";
import { utf8Encode } from "../../sys/text.ts";
import type { Platform } from "../platform/platform.ts";
import type { RunningVm } from "./admission.ts";

const DIRECTORY = "/sys/kernel/mm/ksm";
const STOP = "0";
const RUN = "1";

export class PageMerging {
  #running: boolean | null = null;

  constructor(
    private readonly platform: Pick<Platform, "files" | "log">,
    private readonly directory: string = DIRECTORY,
  ) {}

  /** Lets it run when one of the VMs is mergeable, and rest otherwise. To be called when a VM starts or has ended. */
  update(vms: readonly RunningVm[]): void {
    const wanted = vms.some(({ spec }) => spec.memory?.mergeable === true);
    if (wanted === this.#running) return;
    this.#running = wanted;
    try {
      if (this.platform.files.tryStat(this.directory) === null) return;
      // The pace follows how much there is to scan; kernels before 6.8 have a fixed one.
      if (wanted) this.#tryWrite("advisor_mode", "scan-time");
      this.#write("run", wanted ? RUN : STOP);
    } catch (error) {
      this.platform.log.warn(`page merging: ${messageOf(error)}`);
    }
  }

  #tryWrite(name: string, value: string): void {
    if (this.platform.files.tryStat(`${this.directory}/${name}`) !== null) this.#write(name, value);
  }

  #write(name: string, value: string): void {
    const { files } = this.platform;
    const fd = files.open(`${this.directory}/${name}`, O_WRONLY);
    try {
      files.writeAll(fd, utf8Encode(value));
    } finally {
      files.close(fd);
    }
  }
}
