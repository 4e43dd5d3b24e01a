/** The one door for a VMM's configuration: JSON text in, a checked VmmConfig or an error that names the field out. */
import { GiB, MiB } from "../base/addresses.ts";
import { CPU_MODELS, type CpuModel, topologyProblem } from "../base/cpu-topology.ts";
import { messageOf, ThimbleError } from "../base/errors.ts";
import { FIRMWARE_MEMORY_MIN, FIRMWARE_MEMORY_RULE } from "../base/firmware-memory.ts";
import type { CpuConfig, DirectBoot, FirmwareBoot, VmmConfig } from "./config.ts";
import { CHANNEL_FIELDS, parseChannels, parseVsock } from "./config-channels.ts";
import { DISK_FIELDS, parseCdrom, parseDisk } from "./config-disk.ts";
import { MEMORY_FIELDS, parseMemory } from "./config-memory.ts";
import { NETWORK_FIELDS, parseNetwork } from "./config-network.ts";
import {
  ascii,
  bad,
  boolean,
  integer,
  type Json,
  list,
  object,
  optional,
  orElse,
  PATH_MAX,
  present,
  socketPath,
  string,
} from "./config-values.ts";
import { canDisable } from "./cpu/features.ts";
import { MAX_CPUS } from "./platform.ts";

/** The whole file: a command line and a few dozen paths fit many times. */
export const CONFIG_SIZE_MAX = 256 * 1024;
const MEMORY_STEP = 2 * MiB;
const MEMORY_MIN = 16 * MiB;
/** Below the addresses that AMD's HyperTransport reserves under 1 TiB. */
const MEMORY_MAX = 1000 * GiB;
const NAME_MAX = 64;
const NAME_DEFAULT = "vm";
/** Longest command line of any kernel for x86 (COMMAND_LINE_SIZE) less the zero; the kernel at hand may allow less. */
const COMMAND_LINE_MAX = 2047;
/** A PCI bus has 32 slots; these and the machine's other devices fit one. */
const DISKS_MAX = 16;
const NETWORKS_MAX = 8;
const CDROMS_MAX = 4;
/** More than there are names. */
const CPU_DISABLE_MAX = 128;

/** Every field there is, by the object it is in ("" is the file itself). docs/vmm-config.md describes them. */
export const CONFIG_FIELDS = {
  "": [
    "name",
    "cpus",
    "cpu",
    "memoryBytes",
    "memory",
    "boot",
    "disks",
    "cdroms",
    "networks",
    "serial",
    "controlSocket",
    "virtioConsole",
    "channels",
    "vsock",
    "graphics",
    "debugExit",
    "debugConsole",
  ],
  cpu: ["model", "disable", "sockets", "cores", "threads"],
  boot: ["kernel", "initrd", "commandLine"],
  /** `boot` when it has a field `firmware`. */
  firmwareBoot: ["firmware", "nvram", "order", "kernel", "initrd", "commandLine"],
  ...MEMORY_FIELDS,
  ...DISK_FIELDS,
  ...NETWORK_FIELDS,
  ...CHANNEL_FIELDS,
  serial: ["kind", "path"],
  virtioConsole: ["path"],
  graphics: ["kind", "path"],
} as const satisfies Record<string, readonly string[]>;

/** Throws ThimbleError("bad_config") whose message begins with the field's name. */
export function parseConfig(text: string): VmmConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ThimbleError("bad_config", `the configuration is not JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const config = object(parsed, "", CONFIG_FIELDS[""]);
  const memoryBytes = integer(config.memoryBytes, "memoryBytes", MEMORY_MIN, MEMORY_MAX);
  if (memoryBytes % MEMORY_STEP !== 0) bad("memoryBytes", "must be a multiple of 2 MiB (2097152)");
  const console = optional(config.virtioConsole, (value) =>
    object(value, "virtioConsole", CONFIG_FIELDS.virtioConsole),
  );
  const disks = list(orElse(config.disks, []), "disks", DISKS_MAX, parseDisk);
  const cdroms = optional(config.cdroms, (v) => list(v, "cdroms", CDROMS_MAX, parseCdrom));
  const networks = list(orElse(config.networks, []), "networks", NETWORKS_MAX, parseNetwork);
  const cpus = integer(orElse(config.cpus, 1), "cpus", 1, MAX_CPUS);
  const boot = parseBoot(config.boot, {
    disk: disks.length,
    cdrom: cdroms?.length ?? 0,
    network: networks.length,
  });
  if ("firmware" in boot && memoryBytes < FIRMWARE_MEMORY_MIN) bad("memoryBytes", FIRMWARE_MEMORY_RULE);
  return {
    name: string(orElse(config.name, NAME_DEFAULT), "name", 1, NAME_MAX),
    cpus,
    ...present(
      "cpu",
      optional(config.cpu, (v) => parseCpu(v, cpus)),
    ),
    memoryBytes,
    ...present(
      "memory",
      optional(config.memory, (v) => parseMemory(v, memoryBytes)),
    ),
    boot,
    disks,
    ...present("cdroms", cdroms),
    networks,
    serial: parseSerial(orElse(config.serial, { kind: "stdio" })),
    ...present(
      "controlSocket",
      optional(config.controlSocket, (v) => socketPath(v, "controlSocket")),
    ),
    ...present("virtioConsole", console && { path: socketPath(console.path, "virtioConsole.path") }),
    ...present("channels", optional(config.channels, parseChannels)),
    ...present("vsock", optional(config.vsock, parseVsock)),
    ...present("graphics", optional(config.graphics, parseGraphics)),
    ...present(
      "debugExit",
      optional(config.debugExit, (v) => boolean(v, "debugExit")),
    ),
    ...present(
      "debugConsole",
      optional(config.debugConsole, (v) => string(v, "debugConsole", 1, PATH_MAX)),
    ),
  };
}

function parseCpu(value: unknown, cpus: number): CpuConfig {
  const cpu = object(value, "cpu", CONFIG_FIELDS.cpu);
  const count = (name: "sockets" | "cores" | "threads") =>
    present(
      name,
      optional(cpu[name], (v) => integer(v, `cpu.${name}`, 1, MAX_CPUS)),
    );
  const topology = { ...count("sockets"), ...count("cores"), ...count("threads") };
  const problem = topologyProblem(cpus, topology);
  if (problem !== null) bad("cpu", problem);
  const disable = optional(cpu.disable, (v) =>
    list(v, "cpu.disable", CPU_DISABLE_MAX, (item, field) => {
      const name = ascii(item, field, 32);
      if (!canDisable(name)) bad(field, `("${name}") is not a CPU feature that can be taken away`);
      return name;
    }),
  );
  return {
    ...present("model", optional(cpu.model, parseModel)),
    ...present("disable", disable),
    ...topology,
  };
}

function parseModel(value: unknown): CpuModel {
  const model = CPU_MODELS.find((name) => name === value);
  return model ?? bad("cpu.model", `must be one of ${CPU_MODELS.join(", ")}`);
}

/** How many of each kind a boot order may name. */
type Bootable = Readonly<Record<"disk" | "cdrom" | "network", number>>;

function parseBoot(value: unknown, bootable: Bootable): VmmConfig["boot"] {
  if (typeof value === "object" && value !== null && "firmware" in value) {
    return parseFirmware(value, bootable);
  }
  return parseKernel(object(value, "boot", CONFIG_FIELDS.boot));
}

function parseKernel(boot: Json): DirectBoot {
  return {
    kernel: string(boot.kernel, "boot.kernel", 1, PATH_MAX),
    ...present(
      "initrd",
      optional(boot.initrd, (v) => string(v, "boot.initrd", 1, PATH_MAX)),
    ),
    commandLine: string(orElse(boot.commandLine, ""), "boot.commandLine", 0, COMMAND_LINE_MAX),
  };
}

function parseFirmware(value: unknown, bootable: Bootable): FirmwareBoot {
  const boot = object(value, "boot", CONFIG_FIELDS.firmwareBoot);
  for (const name of ["initrd", "commandLine"]) {
    if (boot[name] !== undefined && boot.kernel === undefined) bad(`boot.${name}`, "needs boot.kernel");
  }
  const order = optional(boot.order, (v) =>
    list(v, "boot.order", DISKS_MAX + CDROMS_MAX + NETWORKS_MAX, (item, field) => {
      const device = ascii(item, field, 16);
      const [, kind, index] = /^(disk|cdrom|network)(\d{1,2})$/.exec(device) ?? [];
      if (kind === undefined || Number(index) >= bootable[kind as keyof Bootable]) {
        bad(field, 'must be "disk", "cdrom" or "network" with the number of one that there is, like "disk0"');
      }
      return device;
    }),
  );
  return {
    firmware: string(boot.firmware, "boot.firmware", 1, PATH_MAX),
    nvram: string(boot.nvram, "boot.nvram", 1, PATH_MAX),
    ...present("order", order),
    ...(boot.kernel === undefined ? {} : parseKernel(boot)),
  };
}

function parseSerial(value: unknown): VmmConfig["serial"] {
  const { kind, path } = object(value, "serial", CONFIG_FIELDS.serial);
  if (kind === "socket") return { kind, path: socketPath(path, "serial.path") };
  if (kind !== "stdio") bad("serial.kind", 'must be "stdio" or "socket"');
  if (path !== undefined) bad("serial.path", 'belongs to the kind "socket" only');
  return { kind: "stdio" };
}

function parseGraphics(value: unknown): NonNullable<VmmConfig["graphics"]> {
  const { kind, path } = object(value, "graphics", CONFIG_FIELDS.graphics);
  if (kind !== "vnc") bad("graphics.kind", 'must be "vnc"');
  return { kind, path: socketPath(path, "graphics.path") };
}
