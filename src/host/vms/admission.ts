/** Whether a VM may start beside those that run: memory, and disks that only one may write. */
import { MiB } from "../../base/addresses.ts";
import { RequestError } from "../http/errors.ts";
import type { ImageStore } from "../storage/images.ts";
import { imagesOf, type VmSpec } from "./spec.ts";

/** What a VMM takes beside guest memory, with the kernel's page tables for the guest. */
export const VMM_OVERHEAD_BYTES = 8 * MiB;
/** The display's memory. */
export const GRAPHICS_BYTES = 16 * MiB;
/** What the host keeps for itself. */
export const HOST_RESERVE_BYTES = 64 * MiB;

/** What a VM needs beside its memory. */
export function overheadBytes(spec: VmSpec): number {
  return VMM_OVERHEAD_BYTES + (spec.graphics === true ? GRAPHICS_BYTES : 0);
}

/** A VM that is not stopped. */
export interface RunningVm {
  readonly id: string;
  readonly spec: VmSpec;
  /** Memory that its process has to itself, the guest's included. */
  readonly residentBytes: number;
}

/**
 * Memory that running VMs may still take and that counts as available until then: what guests have not touched, have
 * given back (a guest can deflate its balloon by itself), or share with others until they write to it.
 */
export function promisedBytes(running: readonly RunningVm[]): number {
  return running.reduce(
    (sum, { spec, residentBytes }) => sum + Math.max(0, neededBytes(spec) - residentBytes),
    0,
  );
}

/** What a VM may take in all. */
function neededBytes(spec: VmSpec): number {
  return spec.memoryBytes + overheadBytes(spec);
}

/** Throws RequestError (409) when memory that is available and not promised to others does not suffice. */
export function checkMemory(spec: VmSpec, availableBytes: number, running: readonly RunningVm[]): void {
  const free = availableBytes - HOST_RESERVE_BYTES - promisedBytes(running);
  const needed = neededBytes(spec);
  if (needed <= free) return;
  throw new RequestError(
    409,
    "not_enough_memory",
    `The VM needs ${mib(needed)} MiB of memory, the host has ${mib(Math.max(0, free))} MiB to give. ` +
      "Stop other VMs, delete images, or give the VM less memory.",
    "memoryBytes",
  );
}

/** Throws RequestError (409) when a disk would be written by two VMs, or read by one while another writes it. */
export function checkDisks(spec: VmSpec, running: readonly RunningVm[]): void {
  for (const { image, field, writable } of imagesOf(spec)) {
    const other = running.find((vm) =>
      imagesOf(vm.spec).some((used) => used.image === image && (used.writable || writable)),
    );
    if (other !== undefined) {
      throw new RequestError(
        409,
        "image_in_use",
        `The image "${image}" is in use by the running VM "${other.spec.name}" (${other.id}). ` +
          "Only disks that all their VMs open read-only can be shared.",
        field,
      );
    }
  }
}

function mib(bytes: number): number {
  return Math.floor(bytes / MiB);
}

/** Throws RequestError (409) when an image that the VM needs is gone. */
export function checkImages(spec: VmSpec, images: Pick<ImageStore, "has">): void {
  for (const { image, field } of imagesOf(spec)) {
    if (images.has(image)) continue;
    throw new RequestError(409, "image_not_found", `The image "${image}" is gone. Upload it again.`, field);
  }
}
