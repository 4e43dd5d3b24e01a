import assert from "node:assert/strict";
import { test } from "node:test";
import { guestPhysical } from "../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../base/random.ts";
import type { RegisterBlock } from "../contract.ts";
import { MmioBus } from "./mmio.ts";

/** Reads give its number in the top byte and the offset below, for sizes of 4. */
function numbered(number: number): RegisterBlock & { readonly writes: string[] } {
  const writes: string[] = [];
  return {
    writes,
    read: (offset, size) => (size === 4 ? number * 0x100_0000 + offset : number),
    write: (offset, size, value) => {
      writes.push(`${offset}.${size}=${value.toString(16)}`);
    },
  };
}

test("a region answers at its offset; addresses of nobody read as all ones", () => {
  const bus = new MmioBus();
  bus.register("a", 0xfeb0_0000, 0x1000, numbered(1));
  assert.equal(bus.read(0xfeb0_0010, 4), 0x0100_0010);
  assert.equal(bus.read(0xfeaf_fffc, 4), 0xffff_ffff);
  assert.equal(bus.read(0xfeb0_1000, 2), 0xffff);
  assert.equal(bus.read(2 ** 40, 1), 0xff);
  bus.write(2 ** 40, 4, 1);
});

test("an access over the end of a region is taken apart into bytes", () => {
  const bus = new MmioBus();
  const a = numbered(1);
  bus.register("a", 0x1000, 0x10, a);
  assert.equal(bus.read(0x100e, 4), 0xffff_0101);
  bus.write(0x100e, 4, 0x4433_2211);
  assert.deepEqual(a.writes, ["14.1=11", "15.1=22"]);
});

test("a region moves and leaves the bus", () => {
  const bus = new MmioBus();
  const region = bus.register("bar", null, 0x1000, numbered(2));
  assert.equal(bus.read(0, 1), 0xff);
  region.move(guestPhysical(0x4000));
  assert.equal(bus.read(0x4004, 4), 0x0200_0004);
  region.move(guestPhysical(2 ** 38));
  assert.equal(bus.read(0x4004, 4), 0xffff_ffff);
  assert.equal(bus.read(2 ** 38 + 8, 4), 0x0200_0008);
  region.move(null);
  assert.equal(region.start, null);
  assert.equal(bus.read(2 ** 38 + 8, 4), 0xffff_ffff);
});

test("of overlapping regions the one that starts last answers, whatever was asked before", () => {
  const seed = testSeed();
  const random = new SeededRandom(seed);
  const bus = new MmioBus();
  const regions = Array.from({ length: 12 }, (_, i) => {
    const sizeBytes = 1 << (4 + random.below(6));
    return { region: bus.register(`r${i}`, null, sizeBytes, numbered(i + 1)), number: i + 1, sizeBytes };
  });
  for (let round = 0; round < 300; round++) {
    const moved = random.pick(regions);
    moved.region.move(random.below(4) === 0 ? null : guestPhysical(random.below(512) * 8));
    for (let i = 0; i < 20; i++) {
      const address = random.below(5000);
      let best = -1;
      for (const { region, sizeBytes } of regions) {
        if (region.start !== null && address >= region.start && address < region.start + sizeBytes) {
          best = Math.max(best, region.start);
        }
      }
      const owners = regions.filter(
        ({ region, sizeBytes }) => region.start === best && address < best + sizeBytes,
      );
      const got = bus.read(address, 1);
      const expected = owners.length === 0 ? [0xff] : owners.map(({ number }) => number);
      assert.ok(expected.includes(got), `seed ${seed}, round ${round}, address ${address}: ${got}`);
    }
  }
});
