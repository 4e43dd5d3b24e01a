import assert from "node:assert/strict";
import { test } from "node:test";
import { guestPhysical, MiB } from "../../base/addresses.ts";
import { HeaderType0 } from "../bus/pci/bits.ts";
import { CommonCfg, DeviceStatus, Feature, Isr, NO_VECTOR, PciCapType, PciCfgCap } from "./bits.ts";
import { features } from "./device.ts";
import { VirtioRng } from "./rng/device.ts";
import { TestDriver, type TestQueue } from "./testing/driver.ts";
import { TestMachine } from "./testing/machine.ts";

const { ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, DEVICE_NEEDS_RESET, FAILED } = DeviceStatus;

function setUp() {
  const machine = new TestMachine();
  const device = new VirtioRng({ name: "rng", memory: machine.memory, source: (target) => target.fill(7) });
  const transport = machine.attach(device);
  const driver = new TestDriver(machine, transport);
  return { machine, device, transport, driver, queue: () => driver.queues[0] as TestQueue };
}

test("identity is that of a modern virtio device", () => {
  const { transport } = setUp();
  const header = HeaderType0.decode(transport.function.config);
  assert.deepEqual([header.vendorId, header.deviceId, header.revisionId], [0x1af4, 0x1044, 1]);
  assert.equal(header.interruptPin, 1);
});

test("status: a driver goes up step by step, features hold from FEATURES_OK on", () => {
  const { driver } = setUp();
  assert.equal(driver.status, 0);
  const taken = driver.negotiate();
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK);
  driver.write("driver_feature_select", 4, 0);
  driver.write("driver_feature", 4, 0);
  assert.equal(driver.read("driver_feature", 4), taken.low);
  driver.write("device_status", 1, ACKNOWLEDGE);
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK, "bits are only cleared by a reset");
  driver.addStatus(FAILED);
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK | FAILED);
  driver.write("device_status", 1, 0);
  assert.equal(driver.status, 0);
});

test("status: features not offered, or without VERSION_1, are refused", () => {
  const { driver } = setUp();
  for (const [low, high] of [
    [features(Feature.RING_EVENT_IDX).low, 0],
    [1, features(Feature.VERSION_1).high],
  ] as const) {
    driver.write("device_status", 1, 0);
    driver.write("driver_feature_select", 4, 0);
    driver.write("driver_feature", 4, low);
    driver.write("driver_feature_select", 4, 1);
    driver.write("driver_feature", 4, high);
    driver.addStatus(ACKNOWLEDGE | DRIVER | FEATURES_OK);
    assert.equal(driver.status & FEATURES_OK, 0);
  }
  driver.addStatus(DRIVER_OK);
  assert.equal(driver.status & DRIVER_OK, 0);
  assert.ok(driver.status & DEVICE_NEEDS_RESET);
  driver.reset();
  assert.equal(driver.status, 0);
});

test("status: rings that cannot be used lead to needs-reset at DRIVER_OK, with an interrupt", () => {
  const { driver, machine } = setUp();
  driver.negotiate();
  driver.enableMsix();
  driver.write("config_msix_vector", 2, 0);
  driver.write("queue_desc_low", 4, 8);
  driver.write("queue_enable", 2, 1);
  driver.addStatus(DRIVER_OK);
  assert.ok(driver.status & DEVICE_NEEDS_RESET);
  assert.equal(machine.routes[0]?.delivered, 1);
  assert.match(machine.log[0] as string, /descriptor table/);
});

test("a queue that was not enabled is left alone", () => {
  const { driver, machine } = setUp();
  driver.negotiate();
  driver.addStatus(DRIVER_OK);
  machine.write(driver.notify, 2, 0);
  machine.settle();
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
});

test("queue registers: sizes, vectors and queues that do not exist", () => {
  const { driver } = setUp();
  driver.negotiate();
  assert.equal(driver.read("num_queues", 2), 1);
  assert.equal(driver.read("queue_size", 2), 64);
  for (const [size, expected] of [
    [32, 32],
    [33, 32],
    [128, 32],
    [0, 32],
    [1, 1],
  ] as const) {
    driver.write("queue_size", 2, size);
    assert.equal(driver.read("queue_size", 2), expected);
  }
  driver.write("queue_msix_vector", 2, 1);
  assert.equal(driver.read("queue_msix_vector", 2), 1);
  driver.write("queue_msix_vector", 2, 2);
  assert.equal(driver.read("queue_msix_vector", 2), NO_VECTOR);
  driver.write("queue_desc_low", 4, 0x1234_5670);
  driver.write("queue_desc_high", 4, 1);
  assert.equal(driver.read("queue_desc_low", 4), 0x1234_5670);
  driver.write("queue_enable", 2, 1);
  driver.write("queue_desc_low", 4, 0);
  assert.equal(driver.read("queue_desc_low", 4), 0x1234_5670, "fixed once enabled");
  driver.write("queue_enable", 2, 0);
  assert.equal(driver.read("queue_enable", 2), 1);
  driver.write("queue_select", 2, 1);
  for (const field of ["queue_size", "queue_enable", "queue_notify_off"] as const) {
    assert.equal(driver.read(field, 2), 0);
  }
  driver.write("queue_enable", 2, 1);
  assert.equal(driver.read("queue_enable", 2), 0);
});

test("MSI-X: the queue's vector interrupts; with NO_VECTOR nothing does", () => {
  const { driver, machine, queue } = setUp();
  driver.start();
  queue().run([8]);
  assert.deepEqual(
    machine.routes.map((route) => route.delivered),
    [0, 1],
  );
  assert.equal(machine.read(driver.isr, 1), 0);
  driver.write("queue_select", 2, 0);
  driver.write("queue_msix_vector", 2, NO_VECTOR);
  queue().run([8]);
  assert.equal(machine.routes[1]?.delivered, 1);
});

test("INTx: the line is asserted until ISR is read", () => {
  const { driver, machine, queue } = setUp();
  driver.start({ useMsix: false });
  queue().run([8]);
  assert.equal(machine.lineAsserted, true);
  assert.equal(machine.read(driver.isr, 1), Isr.QUEUE);
  assert.equal(machine.lineAsserted, false);
  assert.equal(machine.read(driver.isr, 1), 0);
  queue().run([8]);
  driver.reset();
  assert.equal(machine.lineAsserted, false, "reset releases the line");
});

test("doorbells stand only while their queue runs, follow the BAR, and a write that comes by MMIO rings too", () => {
  const { driver, machine, transport, queue } = setUp();
  const doorbell = machine.doorbells[0];
  assert.equal(doorbell?.address, null);
  driver.start();
  assert.equal(doorbell?.address, driver.notify);
  queue().submit([8]);
  machine.mmio.write(driver.notify, 2, 0);
  assert.equal(queue().collect().length, 1);
  const bar = transport.function.barAddress(0) as number;
  transport.function.writeConfig(HeaderType0.offset.bar0, 4, bar + MiB);
  assert.equal(doorbell?.address, driver.notify + MiB);
  transport.function.writeConfig(HeaderType0.offset.command, 2, 0);
  assert.equal(doorbell?.address, null);
  transport.function.writeConfig(HeaderType0.offset.command, 2, 2);
  driver.write("device_status", 1, 0);
  transport.function.writeConfig(HeaderType0.offset.bar0, 4, bar);
  driver.reset();
  assert.equal(doorbell?.address, null);
});

test("chains offered and rung before DRIVER_OK are served at DRIVER_OK", () => {
  const { driver, machine, queue } = setUp();
  const addStatus = driver.addStatus.bind(driver);
  driver.addStatus = (bits) => {
    if (bits === DRIVER_OK) queue().submit([8]);
    if (bits === DRIVER_OK) machine.mmio.write(driver.notify, 2, 0);
    addStatus(bits);
  };
  driver.start();
  assert.equal(queue().collect().length, 1);
});

test("the configuration access capability reaches the BAR through configuration space", () => {
  const { driver, transport, machine } = setUp();
  const fn = transport.function;
  let cap = fn.config[HeaderType0.offset.capabilitiesPointer] as number;
  while (cap !== 0 && fn.config[cap + PciCfgCap.offset.cap + 3] !== PciCapType.PCI_CFG)
    cap = fn.config[cap + 1] as number;
  const access = (offset: number, length: number) => {
    fn.writeConfig(cap + 4, 1, 0);
    fn.writeConfig(cap + 8, 4, offset);
    fn.writeConfig(cap + 12, 4, length);
  };
  const data = cap + PciCfgCap.offset.pci_cfg_data;
  access(CommonCfg.offset.device_status, 1);
  fn.writeConfig(data, 1, ACKNOWLEDGE);
  assert.equal(driver.status, ACKNOWLEDGE);
  access(CommonCfg.offset.queue_size, 2);
  assert.equal(fn.readConfig(data, 2), 64);
  access(0x100000, 4);
  fn.writeConfig(data, 4, 1);
  access(CommonCfg.offset.device_status, 3);
  fn.writeConfig(data, 4, 0);
  assert.equal(driver.status, ACKNOWLEDGE);
  assert.equal(machine.read(guestPhysical(driver.common + CommonCfg.size), 4), 0);
});

test("reads of any width and place agree with each other", () => {
  const { driver, machine } = setUp();
  driver.start();
  for (let offset = 0; offset < CommonCfg.size; offset++) {
    const byte = machine.read(driver.common + offset, 1);
    if (offset % 2 === 0) assert.equal(machine.read(driver.common + offset, 2) & 0xff, byte);
    if (offset % 4 === 0) assert.equal(machine.read(driver.common + offset, 4) & 0xff, byte);
  }
});
