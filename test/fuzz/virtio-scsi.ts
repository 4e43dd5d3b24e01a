/** The SCSI host device with two CD drives. */
import assert from "node:assert/strict";
import type { SeededRandom } from "../../src/base/random.ts";
import { Descriptor, DescriptorFlag } from "../../src/vmm/virtio/bits.ts";
import {
  CDB_SIZE,
  ScsiCommand,
  ScsiResponse,
  SENSE_SIZE,
  TaskRequest,
} from "../../src/vmm/virtio/scsi/bits.ts";
import { CdDrive, Operation } from "../../src/vmm/virtio/scsi/cd-drive.ts";
import { VirtioScsi } from "../../src/vmm/virtio/scsi/device.ts";
import { RamDisk } from "../../src/vmm/virtio/testing/ram-disk.ts";
import { DISK_BYTES, type Ring, type World } from "./subject.ts";
import { BUFFERS, queueOf, type Side } from "./virtio-side.ts";

const OPERATIONS = Object.values(Operation);
const LUN = Uint8Array.of(1, 0, 0x40, 0, 0, 0, 0, 0);

export function scsiSide(world: World): Side {
  const disk = new RamDisk(world.memory, DISK_BYTES, world.disk);
  const drive = new CdDrive(disk, "serial");
  const device = new VirtioScsi({
    name: "scsi",
    memory: world.memory,
    targets: [drive, new CdDrive(null, "empty")],
  });
  return {
    device,
    outside: (random) => {
      disk.holding = random.below(3) === 0;
      disk.failures = random.below(8) === 0 ? { read: -5 } : {};
      while (disk.held.length > 0 && random.below(8) !== 0) disk.complete(random.below(disk.held.length));
      for (const call of disk.calls) world.count(call.split(" ")[0] as string);
      disk.calls.length = 0;
      if (drive.locked) world.count("locked");
      if (drive.trayOpen) world.count("ejected");
      if (random.below(8) === 0) drive.change(disk, true);
    },
    quiet: () => {
      disk.holding = false;
      disk.failures = {};
      while (disk.held.length > 0) disk.complete();
    },
    works: (driver) => {
      const command = new Uint8Array(ScsiCommand.size + 32);
      command.set(LUN);
      command[ScsiCommand.size] = Operation.INQUIRY;
      command[ScsiCommand.size + 4] = 36;
      const [used] = queueOf(driver, 2).run([command, ScsiResponse.size + SENSE_SIZE, 36]);
      assert.equal(used?.data[1]?.[0], 5);
    },
  };
}

/** A command or a task function with room for what comes back: mostly of those there are. Returns the chain's head. */
export function scsiRequest(random: SeededRandom, world: World, ring: Ring): number {
  const head = random.below(ring.size - 3);
  const lun = random.below(8) === 0 ? random.fill(new Uint8Array(8)) : LUN;
  const isTask = world.rings.indexOf(ring) !== 2;
  const header = isTask
    ? TaskRequest.encode({ type: random.below(3), subtype: random.below(9), lun })
    : commandOf(random, lun);
  world.memory.write(BUFFERS, header);
  const response = isTask ? 16 : ScsiResponse.size + SENSE_SIZE;
  const lengths = [header.length, response, random.pick([0, 8, 36, 2048, 8192, 8192])];
  const last = isTask || lengths[2] === 0 ? 1 : 2;
  for (let i = 0; i <= last; i++) {
    const flags = (i < last ? DescriptorFlag.NEXT : 0) | (i > 0 ? DescriptorFlag.WRITE : 0);
    const addressLow = BUFFERS + i * 0x1000;
    const bytes = Descriptor.encode({ addressLow, length: lengths[i] as number, flags, next: head + i + 1 });
    world.memory.write(ring.descriptorTable + (head + i) * Descriptor.size, bytes);
  }
  return head;
}

function commandOf(random: SeededRandom, lun: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ScsiCommand.size + CDB_SIZE);
  bytes.set(lun);
  bytes[ScsiCommand.size] = random.below(10) === 0 ? random.below(256) : random.pick(OPERATIONS);
  if (random.below(3) === 0) {
    bytes.set([Operation.READ_10, 0, 0, 0, 0, random.below(8), 0, 0, 1 + random.below(4)], ScsiCommand.size);
    return bytes;
  }
  for (let at = 1; at < 16; at++) {
    bytes[ScsiCommand.size + at] = random.below(4) > 0 ? 0 : random.pick([1, 2, 3, 0x10, random.below(256)]);
  }
  return bytes;
}
