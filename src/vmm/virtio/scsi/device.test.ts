import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { TestDriver, type TestQueue } from "../testing/driver.ts";
import { TestMachine } from "../testing/machine.ts";
import { RamDisk } from "../testing/ram-disk.ts";
import {
  ScsiCommand,
  ScsiConfig,
  ScsiEvent,
  ScsiResponse,
  ScsiResult,
  SENSE_SIZE,
  TaskRequest,
} from "./bits.ts";
import { CD_BLOCK, CdDrive, Operation } from "./cd-drive.ts";
import { VirtioScsi } from "./device.ts";
import { ScsiStatus, Sense } from "./target.ts";

const BLOCKS = 40;
const RESPONSE = ScsiResponse.size + SENSE_SIZE;
const lunOf = (target: number, lun = 0) => Uint8Array.of(1, target, 0x40, lun, 0, 0, 0, 0);

function setUp(startDriver = true) {
  const machine = new TestMachine();
  const disk = new RamDisk(machine.memory, BLOCKS * CD_BLOCK + 100);
  disk.data.forEach((_, i) => {
    disk.data[i] = (i >>> 11) ^ i;
  });
  const drives = [new CdDrive(disk, "one"), new CdDrive(null, "two")] as const;
  const device = new VirtioScsi({ name: "scsi", memory: machine.memory, targets: drives });
  const driver = new TestDriver(machine, machine.attach(device));
  if (startDriver) driver.start();
  const requests = driver.queues[2] as TestQueue;
  const submit = (cdb: readonly number[], room = 0, target = 0, lun = 0) => {
    const header = new Uint8Array(ScsiCommand.size + 32);
    header.set(lunOf(target, lun));
    header.set(cdb, ScsiCommand.size);
    requests.submit(room > 0 ? [header, RESPONSE, room] : [header, RESPONSE]);
    requests.ring();
  };
  const collect = () =>
    requests.collect().map(({ data: [head, data], written }) => {
      const response = ScsiResponse.decode(head as Uint8Array);
      const sense = (head as Uint8Array).subarray(ScsiResponse.size);
      const code = ((sense[2] as number) << 16) | ((sense[12] as number) << 8) | (sense[13] as number);
      return { ...response, code, data: data?.subarray(0, Math.max(0, written - RESPONSE)) };
    });
  const run = (cdb: readonly number[], room = 0, target = 0, lun = 0) => {
    submit(cdb, room, target, lun);
    const [reply] = collect();
    assert.ok(reply);
    return reply;
  };
  const settled = () => {
    run([Operation.TEST_UNIT_READY]);
    run([Operation.TEST_UNIT_READY], 0, 1);
  };
  return { machine, disk, drives, device, driver, submit, collect, run, settled };
}

const read10 = (lba: number, count: number) => [
  Operation.READ_10,
  0,
  0,
  0,
  lba >> 8,
  lba & 255,
  0,
  0,
  count,
  0,
];
const EJECT = [Operation.START_STOP_UNIT, 0, 0, 0, 2, 0];
const LOAD = [Operation.START_STOP_UNIT, 0, 0, 0, 3, 0];
const LOCK = [Operation.PREVENT_ALLOW, 0, 0, 0, 1, 0];
const UNLOCK = [Operation.PREVENT_ALLOW, 0, 0, 0, 0, 0];
const EVENTS = [Operation.GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];

test("the first command after a reset is told of it, INQUIRY and REPORT LUNS are not", () => {
  const { run } = setUp();
  const inquiry = run([Operation.INQUIRY, 0, 0, 0, 36, 0], 36);
  assert.equal(inquiry.status, ScsiStatus.GOOD);
  assert.deepEqual([...(inquiry.data as Uint8Array).subarray(0, 5)], [5, 0x80, 5, 2, 31]);
  assert.equal(inquiry.data?.length, 36);
  assert.equal(run([Operation.REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 16], 16).data?.[3], 8);
  const first = run([Operation.TEST_UNIT_READY]);
  assert.deepEqual([first.status, first.code, first.sense_len], [2, Sense.RESET, 18]);
  assert.equal(run([Operation.TEST_UNIT_READY]).status, ScsiStatus.GOOD);
});

test("blocks are read with every READ, and the image's odd end is not there", () => {
  const { run, settled, disk } = setUp();
  settled();
  const capacity = run([Operation.READ_CAPACITY_10], 8).data as Uint8Array;
  assert.deepEqual([...capacity], [0, 0, 0, BLOCKS - 1, 0, 0, 8, 0]);
  const long = run([Operation.SERVICE_ACTION_IN, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], 32)
    .data as Uint8Array;
  assert.deepEqual([long[7], long[10], long.length], [BLOCKS - 1, 8, 32]);
  const expected = disk.data.subarray(3 * CD_BLOCK, 5 * CD_BLOCK);
  const reads = [
    read10(3, 2),
    [Operation.READ_12, 0, 0, 0, 0, 3, 0, 0, 0, 2],
    [Operation.READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2],
  ];
  for (const cdb of reads) {
    const reply = run(cdb, 2 * CD_BLOCK + 7);
    assert.deepEqual([reply.status, reply.residual], [0, 7]);
    assert.deepEqual(reply.data, new Uint8Array(expected));
  }
  assert.equal(run(read10(BLOCKS - 1, 2), 2 * CD_BLOCK).code, Sense.OUT_OF_RANGE);
  assert.equal(run(read10(0, 2), CD_BLOCK).response, ScsiResult.OVERRUN);
  disk.failures = { read: -5 };
  assert.equal(run(read10(0, 1), CD_BLOCK).code, Sense.READ_ERROR);
});

test("the response may be spread over many small buffers", () => {
  const { driver, settled, disk } = setUp();
  settled();
  const header = new Uint8Array(ScsiCommand.size + 32);
  header.set(lunOf(0));
  header.set(read10(1, 1), ScsiCommand.size);
  const pieces = [50, 57, 1 + 1000, 1048];
  const [used] = (driver.queues[2] as TestQueue).run(
    [header.subarray(0, 5), header.subarray(5), ...pieces],
    true,
  );
  const all = Buffer.concat(used?.data ?? []);
  assert.equal(used?.written, RESPONSE + CD_BLOCK);
  assert.equal(all[ScsiResponse.offset.response], ScsiResult.OK);
  assert.deepEqual(all.subarray(RESPONSE), Buffer.from(disk.data.subarray(CD_BLOCK, 2 * CD_BLOCK)));
});

test("an empty drive says so, other addresses have nobody, unknown commands are refused", () => {
  const { run, settled } = setUp();
  settled();
  assert.equal(run([Operation.TEST_UNIT_READY], 0, 1).code, Sense.NO_MEDIUM_TRAY_CLOSED);
  assert.equal(run(read10(0, 1), CD_BLOCK, 1).code, Sense.NO_MEDIUM_TRAY_CLOSED);
  assert.equal(run([Operation.TEST_UNIT_READY], 0, 2).response, ScsiResult.BAD_TARGET);
  assert.equal(run([Operation.TEST_UNIT_READY], 0, 0, 1).response, ScsiResult.BAD_TARGET);
  assert.equal(run([0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]).code, Sense.INVALID_OPERATION, "WRITE(10)");
  assert.equal(run([Operation.READ_TOC, 0, 5, 0, 0, 0, 0, 0, 20, 0], 20).code, Sense.INVALID_FIELD);
});

test("tables of contents, mode pages, features and identification", () => {
  const { run, settled } = setUp();
  settled();
  const bytes = (cdb: number[], room = 252, target = 0) => [...(run(cdb, room, target).data ?? [])];
  const toc = (format: number, msf = 0) => bytes([Operation.READ_TOC, msf, format, 0, 0, 0, 0, 0, 200, 0]);
  assert.deepEqual(toc(0), [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, BLOCKS]);
  assert.deepEqual(toc(0, 2).slice(8, 12), [0, 0, 2, 0]);
  assert.deepEqual(toc(1), [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
  assert.equal(toc(2).length, 4 + 4 * 11);
  const capabilities = bytes([Operation.MODE_SENSE_10, 0, 0x2a, 0, 0, 0, 0, 0, 200, 0]);
  assert.deepEqual(capabilities.slice(0, 11), [0, 28, 0, 0, 0, 0, 0, 0, 0x2a, 0x14, 0x0b]);
  assert.equal(bytes([Operation.MODE_SENSE_6, 0, 0x3f, 0, 200, 0]).length, 4 + 12 + 22);
  assert.deepEqual(bytes([Operation.MODE_SENSE_6, 0, 0x41, 0, 200, 0]).slice(4, 8), [1, 10, 0, 0]);
  assert.equal(run([Operation.MODE_SENSE_6, 0, 0xc1, 0, 200, 0], 200).code, Sense.SAVING_UNSUPPORTED);
  const profile = (target: number) =>
    bytes([Operation.GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, 0, 200, 0], 252, target).slice(6, 8);
  assert.deepEqual(
    [profile(0), profile(1)],
    [
      [0, 8],
      [0, 0],
    ],
  );
  assert.deepEqual(bytes([Operation.INQUIRY, 1, 0, 0, 200, 0]), [5, 0, 0, 3, 0, 0x80, 0x83]);
  assert.equal(Buffer.from(bytes([Operation.INQUIRY, 1, 0x80, 0, 200, 0])).toString("latin1", 4), "one");
  assert.equal(bytes([Operation.READ_DISC_INFORMATION, 0, 0, 0, 0, 0, 0, 0, 34, 0]).length, 34);
});

test("the guest ejects and loads; what it has locked stays shut", () => {
  const { run, settled, drives } = setUp();
  settled();
  assert.equal(run(LOCK).status, 0);
  assert.equal(run(EJECT).code, Sense.REMOVAL_PREVENTED);
  run(UNLOCK);
  assert.equal(run(EJECT).status, 0);
  assert.equal(drives[0].trayOpen, true);
  assert.equal(run([Operation.TEST_UNIT_READY]).code, Sense.NO_MEDIUM_TRAY_OPEN);
  assert.deepEqual([...(run(EVENTS, 8).data as Uint8Array)], [0, 6, 4, 0x10, 3, 1, 0, 0]);
  run(LOAD);
  assert.equal(run([Operation.TEST_UNIT_READY]).code, Sense.MEDIUM_CHANGED);
  assert.equal(run([Operation.TEST_UNIT_READY]).status, 0);
});

test("the host changes the medium: the guest is told in three ways, unless it has locked the drive", () => {
  const { run, settled, drives, driver, machine } = setUp();
  settled();
  const events = driver.queues[1] as TestQueue;
  events.submit([ScsiEvent.size]);
  run(LOCK);
  const other = new RamDisk(machine.memory, 2 * CD_BLOCK);
  assert.throws(() => drives[0].change(other, false), { code: "medium_locked" });
  assert.deepEqual([...(run(EVENTS, 8).data as Uint8Array)].slice(4, 6), [1, 2]);
  run(UNLOCK);
  drives[0].change(other, false);
  const [event] = events.collect();
  const { lun, ...told } = ScsiEvent.decode(event?.data[0] as Uint8Array);
  assert.deepEqual(told, { event: 3, reason: 0x28 });
  assert.equal(lun[1], 0);
  assert.deepEqual([...(run(EVENTS, 8).data as Uint8Array)].slice(4, 6), [2, 2]);
  assert.equal(run(read10(0, 1), CD_BLOCK).code, Sense.MEDIUM_CHANGED);
  assert.equal((run([Operation.READ_CAPACITY_10], 8).data as Uint8Array)[3], 1);
  drives[0].change(null, false);
  assert.equal(run([Operation.TEST_UNIT_READY]).code, Sense.NO_MEDIUM_TRAY_CLOSED);
});

test("task management waits for reads in flight, and nothing new begins meanwhile", () => {
  const { submit, collect, settled, disk, driver, machine } = setUp();
  settled();
  const control = driver.queues[0] as TestQueue;
  disk.holding = true;
  submit(read10(0, 1), CD_BLOCK);
  const reset = TaskRequest.encode({ type: 0, subtype: 5, lun: lunOf(0) });
  assert.equal(control.run([reset, 1]).length, 0);
  submit(read10(1, 1), CD_BLOCK);
  assert.equal(disk.held.length, 1);
  disk.complete();
  machine.settle();
  assert.equal(control.collect()[0]?.data[0]?.[0], ScsiResult.OK);
  assert.equal(disk.held.length, 0, "the second read is told of the reset");
  const [first, second] = collect();
  assert.equal(first?.status, 0);
  assert.equal(second?.code, Sense.RESET);
  const nobody = TaskRequest.encode({ type: 0, subtype: 0, lun: lunOf(9) });
  assert.equal(control.run([nobody, 1])[0]?.data[0]?.[0], ScsiResult.BAD_TARGET);
});

test("a reset with a read in flight is done when the read is, and its chain is not returned", () => {
  const { submit, collect, settled, disk, driver, device } = setUp();
  settled();
  disk.holding = true;
  submit(read10(0, 1), CD_BLOCK);
  driver.reset();
  assert.equal(device.busy, true);
  disk.complete();
  assert.equal(device.busy, false);
  assert.equal(collect().length, 0);
});

test("state goes over: pending attention, lock, tray and the driver's sizes", () => {
  const { run, settled, drives, device, driver, machine } = setUp();
  settled();
  run(LOCK);
  drives[0].change(new RamDisk(machine.memory, 4 * CD_BLOCK), true);
  machine.write(driver.device.address + ScsiConfig.offset.sense_size, 4, 18);
  const saved = device.save();
  const copy = setUp();
  copy.device.restore(JSON.parse(JSON.stringify(saved)));
  assert.deepEqual(copy.device.save(), saved);
  assert.equal(copy.device.configRead(ScsiConfig.offset.sense_size, 4), 18);
});

test("generated CDBs: every one is answered, with good sense or data that fit", () => {
  const random = new SeededRandom(testSeed());
  const { run } = setUp();
  const known = Object.values(Operation);
  for (let i = 0; i < 5000; i++) {
    const cdb = random.fill(new Uint8Array(16));
    cdb[0] = random.below(4) === 0 ? (cdb[0] as number) : random.pick(known);
    for (let at = 1; at < 16; at++) if (random.below(3) > 0) cdb[at] = random.below(4) === 0 ? 0xff : 0;
    const room = random.pick([0, 1, 8, 36, CD_BLOCK, 4 * CD_BLOCK]);
    const reply = run([...cdb], room, random.below(3));
    assert.ok((reply.data?.length ?? 0) <= room);
    assert.equal(reply.status === ScsiStatus.CHECK_CONDITION, reply.sense_len > 0);
    if (reply.response === ScsiResult.OK && reply.status === 0)
      assert.equal(reply.residual, room - (reply.data?.length ?? 0));
  }
});

test("a request without room for header or response stops the device", () => {
  for (const chain of [[new Uint8Array(20), RESPONSE], [new Uint8Array(51), RESPONSE - 1], [RESPONSE]]) {
    const { driver, machine } = setUp();
    assert.equal((driver.queues[2] as TestQueue).run(chain).length, 0);
    assert.match(machine.log.join(), /without room/);
  }
});
