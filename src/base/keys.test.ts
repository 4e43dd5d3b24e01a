import assert from "node:assert/strict";
import { test } from "node:test";
import { chordOfCharacter, isKeycode, keycodeOfName } from "./keys.ts";

test("every printable character, line feed and tab can be typed; Shift goes down first", () => {
  for (let code = 0x20; code < 0x7f; code++) {
    const chord = chordOfCharacter(String.fromCharCode(code));
    assert.ok(chord?.every(isKeycode), `character ${code}`);
  }
  assert.deepEqual(chordOfCharacter("a"), [30]);
  assert.deepEqual(chordOfCharacter("A"), [42, 30]);
  assert.deepEqual(chordOfCharacter("\n"), [28]);
  assert.deepEqual(chordOfCharacter("\t"), [15]);
  for (const other of ["é", "\r", "\0"]) assert.equal(chordOfCharacter(other), null);
});

test("keys have names; those that print are called what they print without Shift", () => {
  const expected = {
    esc: 1,
    backspace: 14,
    tab: 15,
    enter: 28,
    ctrl: 29,
    shift: 42,
    "right-shift": 54,
    alt: 56,
    space: 57,
    f1: 59,
    f10: 68,
    "scroll-lock": 70,
    f12: 88,
    "right-ctrl": 97,
    print: 99,
    "right-alt": 100,
    home: 102,
    "page-up": 104,
    left: 105,
    end: 107,
    insert: 110,
    delete: 111,
    meta: 125,
    menu: 127,
    a: 30,
    "1": 2,
    "-": 12,
    "/": 53,
  };
  for (const [name, keycode] of Object.entries(expected)) assert.equal(keycodeOfName(name), keycode, name);
  for (const name of ["", " ", "A", "!", "\n", "ctrl alt", "Ctrl", "constructor", "é"])
    assert.equal(keycodeOfName(name), 0, name);
});

test("keycodes are whole numbers from 1 to 127", () => {
  assert.ok(isKeycode(1) && isKeycode(127));
  for (const bad of [0, 128, -1, 1.5, "1", null]) assert.equal(isKeycode(bad), false);
});
