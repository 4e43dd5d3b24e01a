/** VMs on the datastore: one directory each, with a `vm.json` that is always whole. */
import { messageOf } from "../../base/errors.ts";
import type { Platform } from "../platform/platform.ts";
import type { VmRecord } from "./spec.ts";

export const VM_ID = /^vm-[0-9a-f]{8}$/;

export class VmStore {
  readonly #platform: Pick<Platform, "files" | "log">;
  readonly #directory: string;

  constructor(platform: Pick<Platform, "files" | "log">, directory: string) {
    this.#platform = platform;
    this.#directory = directory;
    platform.files.makeDirectories(directory);
  }

  /** All VMs, oldest first. One whose file cannot be read is reported in the log and left alone. */
  load(): VmRecord[] {
    const records = this.#platform.files.readDirectory(this.#directory).flatMap(({ name }) => {
      if (!VM_ID.test(name)) return [];
      try {
        return [JSON.parse(this.#platform.files.readText(this.#path(name))) as VmRecord];
      } catch (error) {
        this.#platform.log.error(`${this.#path(name)} cannot be used: ${messageOf(error)}`);
        return [];
      }
    });
    return records.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  save(record: VmRecord): void {
    this.#platform.files.makeDirectories(`${this.#directory}/${record.id}`);
    this.#platform.files.replaceFile(this.#path(record.id), JSON.stringify(record));
  }

  /** Where a VM's firmware variables are. */
  variablesPath(id: string): string {
    return `${this.#directory}/${id}/nvram.fd`;
  }

  /** A new VM, with its firmware variables if it has any. Throws SystemError. */
  create(record: VmRecord, variables: Uint8Array | null): void {
    this.#platform.files.makeDirectories(`${this.#directory}/${record.id}`);
    if (variables !== null) this.#platform.files.replaceFile(this.variablesPath(record.id), variables);
    this.save(record);
  }

  delete(id: string): void {
    this.#platform.files.removeTree(`${this.#directory}/${id}`);
  }

  #path(id: string): string {
    return `${this.#directory}/${id}/vm.json`;
  }
}
