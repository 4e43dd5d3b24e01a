/**
 * From what a VNC client says of a key to KEY_* of Linux's input-event-codes.h: from the scancode where the client
 * gives one (then the guest's keyboard layout is the client's), else from the keysym by a US layout.
 */
import { PRINTING_KEYS } from "../../base/keys.ts";

/** Low bytes of keysyms 0xff00 to 0xffff from `first` on, with their keycodes; 0 has none. */
const FUNCTIONS: readonly (readonly [first: number, ...keycodes: number[]])[] = [
  [0x08, 14, 15], // BackSpace Tab
  [0x0d, 28], // Return
  [0x13, 119, 70, 99], // Pause Scroll_Lock Sys_Req
  [0x1b, 1], // Escape
  [0x50, 102, 105, 103, 106, 108, 104, 109, 107], // Home Left Up Right Down Prior Next End
  [0x61, 99, 0, 110], // Print Insert
  [0x67, 127], // Menu
  [0x7f, 69], // Num_Lock
  [0x8d, 96], // KP_Enter
  [0x95, 71, 75, 72, 77, 80, 73, 81, 79, 76, 82, 83], // KP_Home to KP_Delete
  [0xaa, 55, 78, 121, 74, 83, 98], // KP_Multiply Add Separator Subtract Decimal Divide
  [0xb0, 82, 79, 80, 81, 75, 76, 77, 71, 72, 73], // KP_0 to KP_9
  [0xbe, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 87, 88], // F1 to F12
  [0xe1, 42, 54, 29, 97, 58, 0, 125, 126, 56, 100, 125, 126], // Shift Control Caps_Lock Meta Alt Super
  [0xff, 111], // Delete
];
/** ISO_Level3_Shift (AltGr) and ISO_Left_Tab (Shift with Tab). */
const OTHERS: Readonly<Record<number, number>> = { 65027: 100, 65056: 15 };

/** Scancodes of set 1 whose keycode is another number; up to 0x58 they are mostly the same. */
const SCANCODES: Readonly<Record<number, number>> = {
  84: 99,
  89: 117,
  112: 93,
  115: 89,
  121: 92,
  123: 94,
  125: 124,
  126: 121,
};
/** The same for those after 0xe0, here with bit 7. */
const EXTENDED: readonly (readonly [first: number, ...keycodes: number[]])[] = [
  [0x9c, 96, 97], // KP_Enter, right Control
  [0xb5, 98, 0, 99, 100], // KP_Divide, Print, right Alt
  [0xc6, 119, 102, 103, 104, 0, 105, 0, 106, 0, 107, 108, 109, 110, 111], // Pause, Home to Delete
  [0xdb, 125, 126, 127], // Super, Menu
];
const SCANCODE_SAME_MAX = 0x58;

let table: Map<number, number> | null = null;

/** KEY_* of a keysym; 0 for one that no key has. */
export function keycodeOfKeysym(keysym: number): number {
  table ??= buildTable();
  return table.get(keysym) ?? 0;
}

/** KEY_* of a scancode of set 1, an 0xe0 before it as bit 7; 0 for one that no key has. */
export function keycodeOfScancode(scancode: number): number {
  for (const [first, ...keycodes] of EXTENDED) {
    const found = keycodes[scancode - first];
    if (found !== undefined) return found;
  }
  return SCANCODES[scancode] ?? (scancode <= SCANCODE_SAME_MAX && scancode !== 85 ? scancode : 0);
}

function buildTable(): Map<number, number> {
  const built = new Map<number, number>(
    Object.entries(OTHERS).map(([keysym, code]) => [Number(keysym), code]),
  );
  for (const [first, plain, shifted] of PRINTING_KEYS) {
    for (const text of [plain, shifted]) {
      for (let i = 0; i < text.length; i++) built.set(text.charCodeAt(i), first + i);
    }
  }
  for (const [first, ...keycodes] of FUNCTIONS) {
    keycodes.forEach((code, i) => {
      if (code !== 0) built.set(0xff00 + first + i, code);
    });
  }
  return built;
}
