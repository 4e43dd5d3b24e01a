/**
 * What is known of images beyond their files: format, size of the disk, what they are based on. Noted when an image comes
 * from outside or is made here, never looked up again: a guest may write the header of another format into its raw disk,
 * and must not gain by it.
 */
import type { ImageFacts } from "../../disk/probe.ts";
import type { Platform } from "../platform/platform.ts";
import { IMAGE_NAME } from "./names.ts";

/** What is noted of an image. "unknown" is one whose note was lost: it may be a raw disk with any header in it. */
export type NotedFacts = Omit<ImageFacts, "format"> & { readonly format: "qcow2" | "vmdk" | "unknown" };

export class ImageFormats {
  readonly #files: Pick<Platform["files"], "readText" | "replaceFile" | "tryStat">;
  readonly #path: string;
  readonly #facts: Map<string, NotedFacts> = new Map();

  /** Whether there were notes that could not be read, wholly or in part. */
  readonly damaged: boolean = false;

  /** `path` is a file of the datastore. */
  constructor(files: Pick<Platform["files"], "readText" | "replaceFile" | "tryStat">, path: string) {
    this.#files = files;
    this.#path = path;
    if (files.tryStat(path) === null) return;
    const noted = parseNotes(files.readText(path));
    if (noted === null) this.damaged = true;
    else this.#facts = noted;
  }

  /** Null for a raw image. */
  get(name: string): NotedFacts | null {
    return this.#facts.get(name) ?? null;
  }

  note(name: string, facts: ImageFacts | NotedFacts): void {
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

/** Null when a part of the notes is not as this program writes them. */
function parseNotes(text: string): Map<string, NotedFacts> | null {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(document)) return null;
  const notes = Object.entries(document);
  return notes.every(([name, facts]) => IMAGE_NAME.test(name) && isFacts(facts))
    ? new Map(notes as [string, NotedFacts][])
    : null;
}

function isFacts(facts: unknown): boolean {
  if (!isObject(facts)) return false;
  const { format, virtualSizeBytes, backing } = facts;
  return (
    ["qcow2", "vmdk", "unknown"].includes(format as string) &&
    Number.isSafeInteger(virtualSizeBytes) &&
    (virtualSizeBytes as number) >= 0 &&
    (backing === undefined ||
      (isObject(backing) &&
        typeof backing.name === "string" &&
        (backing.format === null || typeof backing.format === "string")))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
