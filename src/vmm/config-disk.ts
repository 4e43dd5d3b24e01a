/** `disks` and `cdroms` of a VMM's configuration. */
import type { BackingFile, CdromConfig, DiskConfig, DiskFormat, DiskLimits } from "./config.ts";
import {
  ascii,
  bad,
  boolean,
  integer,
  list,
  object,
  optional,
  orElse,
  PATH_MAX,
  present,
  string,
} from "./config-values.ts";

/** VIRTIO_BLK_ID_BYTES */
const SERIAL_MAX = 20;
/** Longer chains are slow, and a sign of a mistake. */
const BACKING_MAX = 16;
const QUEUES_MAX = 16;
/** Below it a guest hardly gets anywhere. */
const BYTES_PER_SECOND_MIN = 64 * 1024;

export const DISK_FIELDS = {
  disks: ["path", "readOnly", "serial", "format", "backing", "cache", "onError", "queues", "limits"],
  cdroms: ["path"],
  backing: ["path", "format"],
  diskLimits: ["bytesPerSecond", "operationsPerSecond"],
} as const satisfies Record<string, readonly string[]>;

export function parseDisk(value: unknown, field: string): DiskConfig {
  const disk = object(value, field, DISK_FIELDS.disks);
  const format = optional(disk.format, (v) => parseFormat(v, `${field}.format`));
  const backing = optional(disk.backing, (v) => list(v, `${field}.backing`, BACKING_MAX, parseBacking));
  if (backing !== undefined && format !== "qcow2") bad(`${field}.backing`, 'is for "qcow2" only');
  return {
    path: string(disk.path, `${field}.path`, 1, PATH_MAX),
    readOnly: boolean(orElse(disk.readOnly, false), `${field}.readOnly`),
    ...present(
      "serial",
      optional(disk.serial, (v) => ascii(v, `${field}.serial`, SERIAL_MAX)),
    ),
    ...present("format", format),
    ...present("backing", backing),
    ...present(
      "cache",
      optional(disk.cache, (v) => oneOf(v, `${field}.cache`, ["cached", "direct"] as const)),
    ),
    ...present(
      "onError",
      optional(disk.onError, (v) => oneOf(v, `${field}.onError`, ["report", "pause"] as const)),
    ),
    ...present(
      "queues",
      optional(disk.queues, (v) => integer(v, `${field}.queues`, 1, QUEUES_MAX)),
    ),
    ...present(
      "limits",
      optional(disk.limits, (v) => parseLimits(v, `${field}.limits`)),
    ),
  };
}

export function parseCdrom(value: unknown, field: string): CdromConfig {
  const { path } = object(value, field, DISK_FIELDS.cdroms);
  return present(
    "path",
    optional(path, (v) => string(v, `${field}.path`, 1, PATH_MAX)),
  );
}

function parseBacking(value: unknown, field: string): BackingFile {
  const backing = object(value, field, DISK_FIELDS.backing);
  return {
    path: string(backing.path, `${field}.path`, 1, PATH_MAX),
    format: parseFormat(backing.format, `${field}.format`),
  };
}

function parseFormat(value: unknown, field: string): DiskFormat {
  return oneOf(value, field, ["raw", "qcow2"] as const);
}

/** For the control protocol, too. */
export function parseLimits(value: unknown, field: string): DiskLimits {
  const limits = object(value, field, DISK_FIELDS.diskLimits);
  return {
    ...present(
      "bytesPerSecond",
      optional(limits.bytesPerSecond, (v) =>
        integer(v, `${field}.bytesPerSecond`, BYTES_PER_SECOND_MIN, Number.MAX_SAFE_INTEGER),
      ),
    ),
    ...present(
      "operationsPerSecond",
      optional(limits.operationsPerSecond, (v) =>
        integer(v, `${field}.operationsPerSecond`, 1, Number.MAX_SAFE_INTEGER),
      ),
    ),
  };
}

function oneOf<T extends string>(value: unknown, field: string, names: readonly T[]): T {
  return names.find((name) => name === value) ?? bad(field, `must be one of ${names.join(", ")}`);
}
