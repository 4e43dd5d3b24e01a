/**
 * What is known of images beyond their files: format, size of the disk, what they are based on. Noted when an image comes
 * from outside or is made here, never looked up again: a guest may write the header of another format into its raw disk,
 * and must not gain by it.
 */
import type { ImageFacts } from "../../disk/probe.ts";
import type { Platform } from "../platform/platform.ts";
import { IMAGE_NAME } from "./names.ts";

type NotedFacts = Omit<ImageFacts, "format"> & { readonly format: "qcow2" | "vmdk" };

export class ImageFormats {
  readonly #files: Pick<Platform["files"], "readText" | "replaceFile" | "tryStat">;
  readonly #path: string;
  readonly #facts = new Map<string, NotedFacts>();

  /** `path` is a file of the datastore; one that cannot be read is as good as none. */
  constructor(files: Pick<Platform["files"], "readText" | "replaceFile" | "tryStat">, path: string) {
    this.#files = files;
    this.#path = path;
    if (files.tryStat(path) === null) return;
    const noted = JSON.parse(files.readText(path)) as Record<string, NotedFacts>;
    for (const [name, facts] of Object.entries(noted))
      if (IMAGE_NAME.test(name)) this.#facts.set(name, facts);
  }

  /** Null for a raw image. */
  get(name: string): NotedFacts | null {
    return this.#facts.get(name) ?? null;
  }

  note(name: string, facts: ImageFacts): void {
    const before = this.#facts.get(name);
    if (facts.format === "raw") this.#facts.delete(name);
    else this.#facts.set(name, { ...facts, format: facts.format });
    if (before !== undefined || facts.format !== "raw") this.#save();
  }

  forget(name: string): void {
    if (this.#facts.delete(name)) this.#save();
  }

  /** Names of the images that are directly based on one. */
  basedOn(name: string): string[] {
    return [...this.#facts].filter(([, { backing }]) => backing?.name === name).map(([other]) => other);
  }

  #save(): void {
    this.#files.replaceFile(this.#path, JSON.stringify(Object.fromEntries(this.#facts)));
  }
}
