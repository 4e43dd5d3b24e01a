/** What requests must look like (docs/api.md). Messages follow the field's name in the error: "cpus must be …". */
import * as v from "valibot";
import { GiB, MiB } from "../../base/addresses.ts";
import { CPU_MODELS } from "../../base/cpu-topology.ts";
import { CHORD_KEYS_MAX, CHORDS_MAX, chordOfCharacter, keycodeOfName } from "../../base/keys.ts";
import { SECTOR_BYTES } from "../storage/images.ts";
import { IMAGE_NAME, IMAGE_NAME_RULE } from "../storage/names.ts";

const CPUS_MAX = 64;
const MEMORY_STEP = 2 * MiB;
const MEMORY_MIN = 16 * MiB;
/** Below the addresses that AMD reserves under 1 TiB. */
const MEMORY_MAX = 1000 * GiB;
const DISKS_MAX = 16;
const NETWORKS_MAX = 8;
/** Of a disk; pairs of an interface. */
const QUEUES_MAX = 16;
/** Below it a guest hardly gets anywhere. */
const BYTES_PER_SECOND_MIN = 64 * 1024;
/** A segment of 64 KiB passes an interface as a whole or not at all. */
const BURST_BYTES_MIN = 128 * 1024;
/** COMMAND_LINE_SIZE of x86 Linux less the zero. */
const COMMAND_LINE_MAX = 2047;
/** 16 TiB: sparse, so a limit against slips of the pen only. */
const DISK_SIZE_MAX = 16 * 1024 * GiB;
/** What linux/vm_sockets.h leaves to guests. */
const CONTEXT_ID_MIN = 3;
const CONTEXT_ID_MAX = 0xffff_fffe;
/** The longest that an answer is held back. */
export const WAIT_MAX_MS = 30_000;
/** An hour for a guest to shut down. */
const SHUTDOWN_MAX_MS = 3_600_000;
const SHUTDOWN_DEFAULT_MS = 60_000;

const SPEC_RULE = "must be an object";

function whole(min: number, max: number) {
  const rule = `must be a whole number from ${min} to ${max}`;
  return v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(min, rule), v.maxValue(max, rule));
}

function flag() {
  return v.optional(v.boolean("must be true or false"));
}

function oneOf<const T extends string>(...names: T[]) {
  return v.optional(v.picklist(names, `must be one of ${names.join(", ")}`));
}

const imageName = () => v.pipe(v.string(IMAGE_NAME_RULE), v.regex(IMAGE_NAME, IMAGE_NAME_RULE));

const VM_NAME_RULE =
  'must be 1 to 64 letters, digits, spaces, ".", "_" or "-", beginning with a letter or digit';
const COMMAND_LINE_RULE = `must be at most ${COMMAND_LINE_MAX} printable ASCII characters`;
const MAC_RULE = 'must be the address of one station, like "52:54:00:12:34:56"';

const CDROMS_MAX = 4;
const BOOT_ORDER_MAX = DISKS_MAX + CDROMS_MAX + NETWORKS_MAX;
const DEVICE_RULE = 'must be "disk", "cdrom" or "network" with the number of one, like "disk0"';

const withKernel = {
  initrd: v.optional(imageName()),
  commandLine: v.optional(
    v.pipe(
      v.string(COMMAND_LINE_RULE),
      v.maxLength(COMMAND_LINE_MAX, COMMAND_LINE_RULE),
      v.regex(/^[ -~]*$/, COMMAND_LINE_RULE),
    ),
  ),
};

const directBoot = v.strictObject({ kernel: imageName(), ...withKernel }, SPEC_RULE);

const firmwareBoot = v.strictObject(
  {
    firmware: imageName(),
    variables: imageName(),
    kernel: v.optional(imageName()),
    ...withKernel,
    bootOrder: v.optional(
      v.pipe(
        v.array(
          v.pipe(v.string(DEVICE_RULE), v.regex(/^(disk|cdrom|network)\d{1,2}$/, DEVICE_RULE)),
          "must be an array",
        ),
        v.maxLength(BOOT_ORDER_MAX, `must have at most ${BOOT_ORDER_MAX} elements`),
      ),
    ),
  },
  SPEC_RULE,
);

function hasFirmware(boot: unknown): boolean {
  return typeof boot === "object" && boot !== null && "firmware" in boot;
}

const FEATURE_RULE = 'must be the name of a CPU feature as in /proc/cpuinfo, like "avx2"';
const FEATURES_MAX = 128;

const cpu = v.strictObject(
  {
    model: v.optional(v.picklist(CPU_MODELS, `must be one of ${CPU_MODELS.join(", ")}`)),
    disable: v.optional(
      v.pipe(
        v.array(
          v.pipe(v.string(FEATURE_RULE), v.regex(/^[a-z0-9_]{1,32}$/, FEATURE_RULE)),
          "must be an array",
        ),
        v.maxLength(FEATURES_MAX, `must have at most ${FEATURES_MAX} elements`),
      ),
    ),
    sockets: v.optional(whole(1, CPUS_MAX)),
    cores: v.optional(whole(1, CPUS_MAX)),
    threads: v.optional(whole(1, CPUS_MAX)),
  },
  SPEC_RULE,
);

const STATISTICS_SECONDS_MAX = 3600;
const balloonTarget = () => whole(0, MEMORY_MAX);

const memory = v.strictObject(
  {
    hugePages: flag(),
    mergeable: flag(),
    freePageReporting: flag(),
    balloonTargetBytes: v.optional(balloonTarget()),
    statisticsSeconds: v.optional(whole(0, STATISTICS_SECONDS_MAX)),
  },
  SPEC_RULE,
);

const diskLimits = v.strictObject(
  {
    bytesPerSecond: v.optional(whole(BYTES_PER_SECOND_MIN, Number.MAX_SAFE_INTEGER)),
    operationsPerSecond: v.optional(whole(1, Number.MAX_SAFE_INTEGER)),
  },
  SPEC_RULE,
);

const networkRate = v.strictObject(
  {
    bytesPerSecond: whole(BYTES_PER_SECOND_MIN, Number.MAX_SAFE_INTEGER),
    burstBytes: v.optional(whole(BURST_BYTES_MIN, Number.MAX_SAFE_INTEGER)),
  },
  SPEC_RULE,
);

const networkLimits = v.strictObject(
  { receive: v.optional(networkRate), transmit: v.optional(networkRate) },
  SPEC_RULE,
);

const disk = v.strictObject(
  {
    image: imageName(),
    readOnly: flag(),
    cache: oneOf("cached", "direct"),
    onError: oneOf("report", "pause"),
    queues: v.optional(whole(1, QUEUES_MAX)),
    limits: v.optional(diskLimits),
  },
  SPEC_RULE,
);

export const vmRequest = v.strictObject(
  {
    name: v.pipe(v.string(VM_NAME_RULE), v.regex(/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$/, VM_NAME_RULE)),
    cpus: whole(1, CPUS_MAX),
    cpu: v.optional(cpu),
    memoryBytes: v.pipe(
      whole(MEMORY_MIN, MEMORY_MAX),
      v.multipleOf(MEMORY_STEP, "must be a multiple of 2 MiB (2097152)"),
    ),
    memory: v.optional(memory),
    boot: v.lazy((input) => (hasFirmware(input) ? firmwareBoot : directBoot)),
    disks: v.optional(
      v.pipe(
        v.array(disk, "must be an array"),
        v.maxLength(DISKS_MAX, `must have at most ${DISKS_MAX} elements`),
      ),
    ),
    cdroms: v.optional(
      v.pipe(
        v.array(v.strictObject({ image: v.optional(imageName()) }, SPEC_RULE), "must be an array"),
        v.maxLength(CDROMS_MAX, `must have at most ${CDROMS_MAX} elements`),
      ),
    ),
    graphics: flag(),
    vsock: v.optional(v.strictObject({ cid: v.optional(whole(CONTEXT_ID_MIN, CONTEXT_ID_MAX)) }, SPEC_RULE)),
    networks: v.optional(
      v.pipe(
        v.array(
          v.strictObject(
            {
              mac: v.optional(
                v.pipe(v.string(MAC_RULE), v.regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i, MAC_RULE)),
              ),
              vhost: flag(),
              queues: v.optional(whole(1, QUEUES_MAX)),
              limits: v.optional(networkLimits),
            },
            SPEC_RULE,
          ),
          "must be an array",
        ),
        v.maxLength(NETWORKS_MAX, `must have at most ${NETWORKS_MAX} elements`),
      ),
    ),
  },
  SPEC_RULE,
);

/** New limits for some of the VM's disks or interfaces, by their numbers. */
function limitChanges<Limits extends typeof diskLimits | typeof networkLimits>(
  count: number,
  limits: Limits,
) {
  return v.optional(
    v.pipe(
      v.array(v.strictObject({ index: whole(0, count - 1), limits }, SPEC_RULE), "must be an array"),
      v.maxLength(count, `must have at most ${count} elements`),
    ),
  );
}

/** Something of what may be changed at any time. */
export const vmChange = v.pipe(
  v.strictObject(
    {
      memory: v.optional(v.strictObject({ balloonTargetBytes: balloonTarget() }, SPEC_RULE)),
      disks: limitChanges(DISKS_MAX, diskLimits),
      networks: limitChanges(NETWORKS_MAX, networkLimits),
    },
    SPEC_RULE,
  ),
  v.check(
    ({ memory, disks, networks }) => (memory ?? disks ?? networks) !== undefined,
    'must have "memory", "disks" or "networks"',
  ),
);

const diskSize = v.pipe(
  whole(SECTOR_BYTES, DISK_SIZE_MAX),
  v.multipleOf(SECTOR_BYTES, `must be a multiple of ${SECTOR_BYTES}`),
);

export const diskRequest = v.pipe(
  v.strictObject(
    {
      name: imageName(),
      sizeBytes: v.optional(diskSize),
      format: oneOf("raw", "qcow2"),
      backing: v.optional(imageName()),
    },
    SPEC_RULE,
  ),
  v.forward(
    v.check(({ sizeBytes, backing }) => sizeBytes !== undefined || backing !== undefined, "is needed"),
    ["sizeBytes"],
  ),
  v.forward(
    v.check(({ format, backing }) => backing === undefined || format === "qcow2", 'is for "qcow2" only'),
    ["backing"],
  ),
);

export const convertRequest = v.strictObject(
  {
    to: imageName(),
    format: v.picklist(["raw", "qcow2", "vmdk"], "must be one of raw, qcow2, vmdk"),
    kind: oneOf("streamOptimized", "monolithicSparse"),
  },
  SPEC_RULE,
);

export const resizeRequest = v.strictObject({ sizeBytes: diskSize }, SPEC_RULE);

export const checkRequest = v.strictObject(
  { repair: v.optional(v.boolean("must be true or false"), false) },
  SPEC_RULE,
);

export const shutdownRequest = v.strictObject(
  { timeoutMs: v.optional(whole(1, SHUTDOWN_MAX_MS), SHUTDOWN_DEFAULT_MS), mode: oneOf("agent", "acpi") },
  SPEC_RULE,
);

/** Programs in the guest that write stand still meanwhile: as short as a snapshot of its disks needs. */
export const freezeRequest = v.strictObject(
  { timeoutMs: v.optional(whole(100, 600_000), 10_000) },
  SPEC_RULE,
);

const KEY_RULE = 'must be the name of a key, like "ctrl", "f1" or "a"';
const TEXT_RULE = `must be 1 to ${CHORDS_MAX} printable ASCII characters, line feeds and tabs`;

export const keysRequest = v.pipe(
  v.strictObject(
    {
      keys: v.optional(
        v.pipe(
          v.array(
            v.pipe(
              v.string(KEY_RULE),
              v.check((name) => keycodeOfName(name) !== 0, KEY_RULE),
            ),
            "must be an array",
          ),
          v.minLength(1, "must have at least one element"),
          v.maxLength(CHORD_KEYS_MAX, `must have at most ${CHORD_KEYS_MAX} elements`),
        ),
      ),
      text: v.optional(
        v.pipe(v.string(TEXT_RULE), v.maxLength(CHORDS_MAX, TEXT_RULE), v.regex(/^[\n\t -~]+$/, TEXT_RULE)),
      ),
    },
    SPEC_RULE,
  ),
  v.check(
    ({ keys, text }) => (keys === undefined) !== (text === undefined),
    'must have either "keys" or "text"',
  ),
  v.transform(({ keys, text }) =>
    keys === undefined
      ? [...(text as string)].map((character) => chordOfCharacter(character) as readonly number[])
      : [keys.map(keycodeOfName)],
  ),
);

/** A number in a query. */
function digits(max: number) {
  const rule = `must be a whole number from 0 to ${max}`;
  return v.optional(
    v.pipe(v.string(rule), v.regex(/^\d{1,16}$/, rule), v.transform(Number), v.maxValue(max, rule)),
    "0",
  );
}

export const waitQuery = v.object({ waitMs: digits(WAIT_MAX_MS) });
export const eventsQuery = v.object({ waitMs: digits(WAIT_MAX_MS), after: digits(Number.MAX_SAFE_INTEGER) });
