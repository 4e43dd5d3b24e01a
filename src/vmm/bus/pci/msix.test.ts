import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../../base/addresses.ts";
import { TestRoute } from "../../virtio/testing/machine.ts";
import { MmioBus } from "../mmio.ts";
import { MSIX_ENTRY_MASKED, MsixControl, MsixEntry } from "./bits.ts";
import { HOST_BRIDGE, PciBus } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { Msix } from "./msix.ts";

function setUp(vectors = 3) {
  const bus = new PciBus({ window: { start: 3 * GiB, size: MiB }, mmio: new MmioBus() });
  const fn = new PciFunction("test", HOST_BRIDGE, null);
  const routes: TestRoute[] = [];
  const create = () => {
    const route = new TestRoute(routes.length);
    routes.push(route);
    return route;
  };
  const msix = new Msix(fn, vectors, { create }, { bar: 0, tableOffset: 0, pbaOffset: 0x800 });
  bus.add(1, fn);
  const cap = fn.config[0x34] as number;
  const control = (value: number) => fn.writeConfig(cap + 2, 2, value);
  const entry = (vector: number, address: number, data: number, mask: number) => {
    const start = vector * MsixEntry.size;
    msix.table.write(start, 4, address % 2 ** 32);
    msix.table.write(start + 4, 4, Math.floor(address / 2 ** 32));
    msix.table.write(start + 8, 4, data);
    msix.table.write(start + 12, 4, mask);
  };
  return { fn, msix, routes, control, entry, cap };
}

test("the capability tells size and places; vectors start masked", () => {
  const { fn, msix, cap } = setUp();
  assert.equal(fn.readConfig(cap, 4), 0x0002_0011);
  assert.equal(fn.readConfig(cap + 8, 4), 0x800);
  assert.equal(msix.table.read(12, 4), MSIX_ENTRY_MASKED);
  assert.equal(msix.enabled, false);
});

test("a message is delivered when MSI-X is on and nothing masks it", () => {
  const { msix, routes, control, entry } = setUp();
  entry(1, 0xfee0_1000, 0x41, 0);
  msix.notify(1);
  assert.equal(routes[1]?.delivered, 0, "MSI-X is off: nothing, not even pending");
  control(MsixControl.enable);
  assert.deepEqual(routes[1]?.message, { address: 0xfee0_1000, data: 0x41 });
  assert.equal(routes[1]?.delivered, 0);
  msix.notify(1);
  msix.notify(7);
  assert.equal(routes[1]?.delivered, 1);
});

test("masked vectors become pending and are delivered once when the mask goes", () => {
  const { msix, routes, control, entry } = setUp();
  control(MsixControl.enable);
  msix.notify(2);
  msix.notify(2);
  assert.equal(msix.pba.read(0, 4), 0b100);
  entry(2, 0xfee0_0000, 0x50, 0);
  assert.equal(routes[2]?.delivered, 1);
  assert.equal(msix.pba.read(0, 4), 0);
  control(MsixControl.enable | MsixControl.functionMask);
  assert.equal(routes[2]?.message, null);
  msix.notify(2);
  assert.equal(msix.pba.read(0, 1), 0b100);
  control(MsixControl.enable);
  assert.equal(routes[2]?.delivered, 2);
  assert.equal(routes[2]?.lost, 0);
});

test("a message rewritten without masking takes effect, with all 64 address bits", () => {
  const { msix, routes, control, entry } = setUp();
  control(MsixControl.enable);
  entry(0, 0xfee0_0000, 1, 0);
  msix.table.write(8, 4, 2);
  msix.table.write(4, 4, 1);
  assert.deepEqual(routes[0]?.message, { address: 0xfee0_0000 + 2 ** 32, data: 2 });
});

test("unmasking is told, so that signals lost in the kernel can be made up for", () => {
  const { msix, control, entry } = setUp();
  const unmasked: number[] = [];
  msix.onUnmasked = (vector) => unmasked.push(vector);
  control(MsixControl.enable);
  entry(0, 0xfee0_0000, 1, 0);
  entry(0, 0xfee0_0000, 1, 1);
  entry(0, 0xfee0_1000, 1, 0);
  assert.deepEqual(unmasked, [0, 0]);
});

test("save and restore carry table and pending bits; reset masks everything", () => {
  const one = setUp();
  one.control(MsixControl.enable);
  one.entry(0, 0xfee0_0000, 7, 0);
  one.msix.notify(1);
  const two = setUp();
  two.fn.restore(JSON.parse(JSON.stringify(one.fn.save())));
  two.msix.restore(JSON.parse(JSON.stringify(one.msix.save())));
  assert.deepEqual(two.routes[0]?.message, { address: 0xfee0_0000, data: 7 });
  assert.equal(two.msix.pba.read(0, 1), 0b10);
  two.fn.reset();
  two.msix.reset();
  assert.equal(two.routes[0]?.message, null);
  assert.equal(two.msix.table.read(12, 4), MSIX_ENTRY_MASKED);
  assert.throws(() => setUp(4).msix.restore(one.msix.save()), { code: "bad_state" });
});
