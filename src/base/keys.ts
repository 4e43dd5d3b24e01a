/** Keys of a PC keyboard with a US layout: KEY_* of Linux's input-event-codes.h by character and by name. */

/** Limits of what is typed on request: a line and a half of a console, and as many keys together as anybody needs. */
export const CHORDS_MAX = 256;
export const CHORD_KEYS_MAX = 8;

const SHIFT = 42;
const KEYCODE_MAX = 127;

/** Keys that print on a US keyboard, by keycode from `first` on: the character alone, then with Shift. */
export const PRINTING_KEYS: readonly (readonly [first: number, plain: string, shifted: string])[] = [
  [2, "1234567890-=", "!@#$%^&*()_+"],
  [16, "qwertyuiop[]", "QWERTYUIOP{}"],
  [30, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [43, "\\zxcvbnm,./", "|ZXCVBNM<>?"],
  [57, " ", ""],
];

/** Keys that do not print, in runs of neighbours: the first keycode, then names. */
const NAMED_KEYS: readonly (readonly [first: number, names: string])[] = [
  [1, "esc"],
  [14, "backspace tab"],
  [28, "enter ctrl"],
  [42, "shift"],
  [54, "right-shift"],
  [56, "alt space caps-lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num-lock scroll-lock"],
  [87, "f11 f12"],
  [97, "right-ctrl"],
  [99, "print right-alt"],
  [102, "home up page-up left right end down page-down insert delete"],
  [119, "pause"],
  [125, "meta right-meta menu"],
];
/** Characters that are keys in a text. */
const TEXT_KEYS: Readonly<Record<string, number>> = { "\n": 28, "\t": 15 };

export function isKeycode(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= KEYCODE_MAX;
}

/** The keycode of a key by its name, or by the character it prints without Shift; 0 when there is none. */
export function keycodeOfName(name: string): number {
  for (const [first, names] of NAMED_KEYS) {
    const index = names.split(" ").indexOf(name);
    if (index >= 0) return first + index;
  }
  const chord = name.length === 1 ? chordOfCharacter(name) : null;
  return chord?.length === 1 && name > " " ? (chord[0] as number) : 0;
}

/** The keys that type a character, Shift first where it is needed; null when no key types it. */
export function chordOfCharacter(character: string): readonly number[] | null {
  for (const [first, plain, shifted] of PRINTING_KEYS) {
    const index = plain.indexOf(character);
    if (index >= 0) return [first + index];
    const capital = shifted.indexOf(character);
    if (capital >= 0) return [SHIFT, first + capital];
  }
  const key = TEXT_KEYS[character];
  return key === undefined ? null : [key];
}
