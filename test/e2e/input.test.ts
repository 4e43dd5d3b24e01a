/** Keys and the pointer reach a Linux guest through virtio, from a VNC client that others wrote and from the API. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuestInput } from "../framework/evdev.ts";
import { sharedServer } from "../framework/servers.ts";
import { withGuest } from "../framework/test-vm.ts";
import { vncInput } from "../framework/vnc-input.ts";

const KEYBOARD = "Thimble keyboard";
const TABLET = "Thimble tablet";
const SHIFT_L = 0xffe1;
const letter = (character: string) => character.charCodeAt(0);

describe("input", () => {
  test("a guest reads what is typed and pointed at its display, and Ctrl-Alt-Del through the API restarts it", async () => {
    const { api } = await sharedServer();
    await withGuest(api, { graphics: true }, async ({ shell, id }) => {
      const keyboard = await GuestInput.record(shell, KEYBOARD);
      const tablet = await GuestInput.record(shell, TABLET);
      const press = (keysym: number) => [true, false].map((down) => ({ keysym, down }));
      await vncInput(api, id, [
        ...press(letter("a")),
        { keysym: SHIFT_L, down: true },
        ...press(letter("B")),
        { keysym: SHIFT_L, down: false },
        ...press(0xff1b),
        { x: 0, y: 799, buttons: 0 },
        { x: 1279, y: 0, buttons: 0 },
        { x: 1279, y: 0, buttons: 1 },
        { x: 1279, y: 0, buttons: 0 },
        { x: 640, y: 0, buttons: 2 },
        { x: 640, y: 0, buttons: 4 },
        { x: 640, y: 0, buttons: 8 },
        { x: 640, y: 0, buttons: 16 },
        { x: 640, y: 0, buttons: 0 },
      ]);
      assert.deepEqual(await keyboard.take(8), [
        ...["1 30 1", "1 30 0"],
        ...["1 42 1", "1 48 1", "1 48 0", "1 42 0"],
        ...["1 1 1", "1 1 0"],
      ]);
      // The guest's kernel leaves out what is as it was: x is 0 at first.
      assert.deepEqual(await tablet.take(12), [
        "3 1 32767",
        ...["3 1 0", "3 0 32767"],
        ...["1 272 1", "1 272 0"],
        ...["3 0 16396", "1 274 1"],
        ...["1 274 0", "1 273 1"],
        ...["1 273 0", "2 8 1"],
        "2 8 -1",
      ]);

      await api.sendKeys(id, { text: "Ab\n" });
      assert.deepEqual(await keyboard.take(8), [
        ...["1 42 1", "1 30 1", "1 30 0", "1 42 0"],
        ...["1 48 1", "1 48 0"],
        ...["1 28 1", "1 28 0"],
      ]);

      const after = (await api.events()).at(-1)?.seq ?? 0;
      await api.sendKeys(id, { keys: ["ctrl", "alt", "delete"] });
      await api.waitForEvent(({ kind, object }) => kind === "vm.reset" && object.id === id, after);
    });
  });
});
