/** The machine's PCI devices: which virtio devices a configuration asks for, in which slots, on which backends. */
import { messageOf } from "../base/errors.ts";
import { IoRing } from "../sys/io-uring.ts";
import type { Logger } from "../sys/log.ts";
import type { EventLoop } from "../sys/loop.ts";
import { limitGuest } from "../sys/netlink/traffic.ts";
import { fillRandomNow } from "../sys/random.ts";
import { LimitedDisk } from "./backends/limited-disk.ts";
import { openDisk } from "./backends/open-disk.ts";
import { interfaceIndex, openTap } from "./backends/tap.ts";
import { VhostNet } from "./backends/vhost-net.ts";
import { makeBalloon } from "./balloon.ts";
import { forField } from "./boot-files.ts";
import type { PciBus } from "./bus/pci/bus.ts";
import type { VmmConfig } from "./config.ts";
import type { CharBackend, Clock, DoorbellController, MsiController } from "./contract.ts";
import { DiskFaults } from "./disk-faults.ts";
import type { InterruptLines } from "./kvm/interrupts.ts";
import type { GuestMemory } from "./memory/guest-memory.ts";
import { cdromsPart, channelsPart, displayPart } from "./parts.ts";
import { pciInterrupt } from "./platform.ts";
import type { VirtioBalloon } from "./virtio/balloon/device.ts";
import { VirtioBlk } from "./virtio/blk/device.ts";
import { VirtioConsole } from "./virtio/console/device.ts";
import type { VirtioDevice } from "./virtio/device.ts";
import type { VirtioInput } from "./virtio/input/device.ts";
import { parseMac, VirtioNet } from "./virtio/net/device.ts";
import { VirtioPci } from "./virtio/pci-transport.ts";
import { VirtioRng } from "./virtio/rng/device.ts";
import type { NamedChannel } from "./virtio/serial/device.ts";

/** First PCI slot of each kind. Guests name interfaces after slots, so a disk more must not move a network device. */
const Slot = { rng: 1, console: 2, network: 3, disk: 11, keyboard: 28, tablet: 29 } as const;

/** Functions of the first slot beside function 0. */
const FirstSlot = { balloon: 1, vsock: 2, serial: 3, scsi: 4 } as const;
/** Queues of a disk or an interface that nobody gave a number: more do not make it faster. */
const DISK_QUEUES_MAX = 4;
const NETWORK_QUEUES_MAX = 4;
/** What one machine's disks have in the kernel at once. */
const RING_REQUESTS = 256;

/**
 * The place of a device that a boot order names, "disk0", "network1", "cdrom2", as firmware writes it in device paths;
 * and which of the units behind it, for a CD drive.
 */
export function placeOf(device: string): { readonly place: string; readonly unit: number } {
  const [, kind, number] = /^([a-z]+)(\d+)$/.exec(device) as unknown as [string, string, string];
  if (kind === "cdrom") return { place: `${Slot.rng.toString(16)},${FirstSlot.scsi}`, unit: Number(number) };
  const slot = Slot[kind as "disk" | "network"] + Number(number);
  return { place: slot.toString(16), unit: 0 };
}

export interface VirtioParts {
  readonly pci: PciBus;
  readonly memory: GuestMemory;
  readonly loop: EventLoop;
  readonly log: Logger;
  readonly lines: InterruptLines;
  readonly msi: MsiController;
  readonly doorbells: DoorbellController;
  /** Takes what devices say of a guest that misuses them. */
  readonly complaints: (message: string) => void;
  /** For the virtio-console; null when there is none. */
  readonly console: CharBackend | null;
  readonly channels: readonly NamedChannel[];
  readonly cpus: number;
  readonly clock: Clock;
  /** Pauses the machine for a reason; null: lets it go on. */
  readonly pause: (reason: string | null) => void;
}

export interface VirtioDevices {
  readonly balloon: VirtioBalloon;
  /** Keyboard and pointer; null when the machine has no graphics. */
  readonly input: { readonly keyboard: VirtioInput; readonly tablet: VirtioInput } | null;
  readonly disks: readonly LimitedDisk[];
  /** Disks that wait because of errors try again. */
  retryDisks(): void;
  /** Flushes and closes the backends. */
  close(): void;
}

/** Makes the devices and puts them on the PCI bus. Throws ThimbleError("bad_config") naming the field at fault. */
export function attachVirtio(config: VmmConfig, parts: VirtioParts): VirtioDevices {
  const { memory } = parts;
  const backends: { close(): void }[] = [];
  attach(Slot.rng, new VirtioRng({ name: "virtio-rng", memory, source: fillRandomNow }), parts);
  const balloon = makeBalloon(config, parts);
  attach(Slot.rng, balloon, parts, FirstSlot.balloon);
  if (parts.console !== null) {
    attach(
      Slot.console,
      new VirtioConsole({ name: "virtio-console", memory, backend: parts.console }),
      parts,
    );
  }
  if (config.vsock !== undefined) {
    const { cid } = config.vsock;
    const { VhostVsock, VirtioVsock } = channelsPart();
    const kernel = forField("vsock.cid", () => VhostVsock.open(memory, cid));
    const device = new VirtioVsock({ name: "virtio-vsock", memory, cid, kernel, log: parts.complaints });
    attach(Slot.rng, device, parts, FirstSlot.vsock);
  }
  if (parts.channels.length > 0) {
    const { channels } = parts;
    const device = new (channelsPart().VirtioSerial)({ name: "virtio-serial", memory, channels });
    attach(Slot.rng, device, parts, FirstSlot.serial);
  }
  if (config.cdroms !== undefined && config.cdroms.length > 0) {
    const { makeDrives, VirtioScsi } = cdromsPart();
    const drives = makeDrives(config, parts);
    attach(Slot.rng, new VirtioScsi({ name: "virtio-scsi", memory, targets: drives }), parts, FirstSlot.scsi);
    backends.push(...drives);
  }
  config.networks.forEach((network, i) => {
    const { tap, mac, vhost } = network;
    const count = network.queues ?? Math.min(parts.cpus, NETWORK_QUEUES_MAX);
    const queues = { count, exactly: network.queues !== undefined };
    const taps = forField(`networks[${i}].tap`, () => openTap(tap, queues, memory, parts.loop));
    backends.push(...taps);
    const { limits } = network;
    if (limits !== undefined)
      forField(`networks[${i}].limits`, () => limitGuest(interfaceIndex(tap), limits));
    const device = new VirtioNet({
      name: `virtio-net ${i}`,
      memory,
      pairs: taps.map((backend) => ({
        backend,
        kernel: vhost === false ? null : openVhost(memory, backend.fd, parts.log),
      })),
      mac: forField(`networks[${i}].mac`, () => parseMac(mac)),
    });
    attach(Slot.network + i, device, parts);
  });
  const disks: LimitedDisk[] = [];
  const faults = new DiskFaults(parts.clock, parts.pause);
  const ring = once(() => IoRing.tryOpen(parts.loop, RING_REQUESTS));
  config.disks.forEach((disk, i) => {
    const host = { memory, ring, log: parts.complaints };
    const inner = forField(`disks[${i}].path`, () => openDisk(disk, host));
    const backend = new LimitedDisk(inner, disk.limits ?? {}, parts.clock);
    disks.push(backend);
    const { serial } = disk;
    const device = new VirtioBlk({
      name: `virtio-blk ${i}`,
      memory,
      backend,
      queues: disk.queues ?? Math.min(parts.cpus, DISK_QUEUES_MAX),
      onError: faults.policy(`disk${i}`, disk),
      ...(serial === undefined ? {} : { serial }),
    });
    faults.add(device);
    attach(Slot.disk + i, device, parts);
  });
  return {
    balloon,
    input: config.graphics === undefined ? null : attachInput(parts),
    disks,
    retryDisks: () => faults.retry(),
    close: () => {
      for (const backend of [...backends, ...disks]) backend.close();
    },
  };
}

/** Makes a thing when it is first asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly thing: T } | null = null;
  return () => {
    made ??= { thing: make() };
    return made.thing;
  };
}

function attachInput(parts: VirtioParts): NonNullable<VirtioDevices["input"]> {
  const { memory } = parts;
  const { KEYBOARD, TABLET, VirtioInput } = displayPart();
  const keyboard = new VirtioInput({ name: "virtio-keyboard", memory, kind: KEYBOARD });
  const tablet = new VirtioInput({ name: "virtio-tablet", memory, kind: TABLET });
  attach(Slot.keyboard, keyboard, parts);
  attach(Slot.tablet, tablet, parts);
  return { keyboard, tablet };
}

function openVhost(memory: GuestMemory, tapFd: number, log: Logger): VhostNet | null {
  try {
    return VhostNet.open(memory, tapFd);
  } catch (error) {
    log.warn(`${messageOf(error)}; packets are moved in this process`);
    return null;
  }
}

/** `number`: which function of the slot it is; all share the slot's INTA. */
function attach(slot: number, device: VirtioDevice, parts: VirtioParts, number = 0): void {
  const { pci, memory, loop, lines, msi, doorbells, complaints } = parts;
  const transport = new VirtioPci({
    device,
    memory,
    msi,
    doorbells,
    line: lines.connect(pciInterrupt(slot, 0)),
    defer: (callback) => loop.post(callback),
    log: complaints,
  });
  pci.add(slot, transport.function, number);
}
