import assert from "node:assert/strict";
import { test } from "node:test";
import { InputRouter } from "./input-router.ts";

function setUp() {
  const seen: string[] = [];
  const port = (name: string) => ({
    running: false,
    pending: 0,
    key: (keycode: number, down: boolean) => seen.push(`${name} ${keycode} ${down ? "down" : "up"}`),
  });
  const keyboard = port("virtio");
  const ps2 = port("ps2");
  const tablet = { pointer: (...at: number[]) => seen.push(`tablet ${at}`) };
  const router = new InputRouter({ keyboard, ps2, tablet });
  const take = () => seen.splice(0).join(", ");
  return { router, keyboard, ps2, take };
}

test("keys go to the PS/2 keyboard until a driver runs the virtio keyboard; the pointer to the tablet", () => {
  const { router, keyboard, take } = setUp();
  router.key(30, true);
  router.key(30, false);
  keyboard.running = true;
  router.key(30, true);
  router.key(30, false);
  router.pointer(1, 2, 3, -1);
  assert.equal(take(), "ps2 30 down, ps2 30 up, virtio 30 down, virtio 30 up, tablet 1,2,3,-1");
});

test("a key is let go where it was pressed, once", () => {
  const { router, keyboard, take } = setUp();
  router.key(28, true);
  keyboard.running = true;
  router.key(28, true);
  router.key(42, true);
  router.key(28, false);
  router.key(28, false);
  keyboard.running = false;
  router.key(42, false);
  assert.equal(take(), "ps2 28 down, ps2 28 down, virtio 42 down, ps2 28 up, virtio 42 up");
});

test("a key held while the driver goes repeats at the PS/2 keyboard, where it is then let go", () => {
  const { router, keyboard, take } = setUp();
  keyboard.running = true;
  router.key(60, true);
  keyboard.running = false;
  router.key(60, true);
  router.key(60, false);
  assert.equal(take(), "virtio 60 down, ps2 60 down, ps2 60 up");
});

test("input is settled when the guest has read all of it from the keyboard that it uses", () => {
  const { router, keyboard, ps2 } = setUp();
  assert.equal(router.settled, true);
  ps2.pending = 1;
  assert.equal(router.settled, false);
  keyboard.running = true;
  assert.equal(router.settled, true);
  keyboard.pending = 2;
  assert.equal(router.settled, false);
});
