import assert from "node:assert/strict";
import { test } from "node:test";
import type { RegisterBlock } from "../contract.ts";
import { PioBus } from "./pio.ts";

/** Answers reads with its letter in every byte and notes writes. */
function recorder(byte: number): RegisterBlock & { readonly seen: string[] } {
  const seen: string[] = [];
  return {
    seen,
    read: (offset, size) => {
      seen.push(`r${offset}.${size}`);
      return size === 4 ? (byte * 0x0101_0101) >>> 0 : size === 2 ? byte * 0x0101 : byte;
    },
    write: (offset, size, value) => {
      seen.push(`w${offset}.${size}=${value.toString(16)}`);
    },
  };
}

test("an access inside a registration reaches its device whole, with the offset from its start", () => {
  const bus = new PioBus();
  const uart = recorder(0x11);
  bus.register("com1", { start: 0x3f8, size: 8 }, uart);
  assert.equal(bus.read(0x3fd, 1), 0x11);
  assert.equal(bus.read(0x3f8, 4), 0x1111_1111);
  bus.write(0x3fe, 2, 0xbeef);
  assert.deepEqual(uart.seen, ["r5.1", "r0.4", "w6.2=beef"]);
});

test("ports of nobody read as all ones and swallow writes", () => {
  const bus = new PioBus();
  assert.equal(bus.read(0x1234, 1), 0xff);
  assert.equal(bus.read(0x1234, 2), 0xffff);
  assert.equal(bus.read(0xffff, 4), 0xffff_ffff);
  bus.write(0xffff, 4, 1);
});

test("an access over a registration's end is taken apart into bytes", () => {
  const bus = new PioBus();
  const a = recorder(0x22);
  const b = recorder(0x33);
  bus.register("a", { start: 0x60, size: 1 }, a);
  bus.register("b", { start: 0x61, size: 1 }, b);
  assert.equal(bus.read(0x60, 4), 0xffff_3322);
  bus.write(0x5f, 4, 0x4433_2211);
  assert.deepEqual(a.seen, ["r0.1", "w0.1=22"]);
  assert.deepEqual(b.seen, ["r0.1", "w0.1=33"]);
});

test("a registration inside another takes over the accesses that begin there", () => {
  const bus = new PioBus();
  const address = recorder(0x44);
  const reset = recorder(0x55);
  bus.register("config address", { start: 0xcf8, size: 4 }, address);
  bus.register("reset", { start: 0xcf9, size: 1 }, reset);
  bus.write(0xcf8, 4, 0x8000_0000);
  bus.write(0xcf9, 1, 6);
  assert.deepEqual(address.seen, ["w0.4=80000000"]);
  assert.deepEqual(reset.seen, ["w0.1=6"]);
});

test("registrations that overlap otherwise, or lie outside the port space, are refused", () => {
  const bus = new PioBus();
  const block = recorder(0);
  bus.register("a", { start: 0x100, size: 8 }, block);
  assert.throws(() => bus.register("b", { start: 0x104, size: 8 }, block), /belongs to a/);
  assert.throws(() => bus.register("b", { start: 0xfc, size: 8 }, block), /belongs to a/);
  assert.throws(() => bus.register("b", { start: 0xffff, size: 2 }, block), /cannot be registered/);
  bus.register("c", { start: 0x108, size: 0x100 }, block);
});
