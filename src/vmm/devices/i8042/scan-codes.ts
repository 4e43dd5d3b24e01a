/**
 * Key codes of PC keyboards. Set 2 goes over the cable; software reads set 1, into which the controller translates.
 * Linux's KEY_* numbers are those of set 1 up to F12, which spares a table.
 */

/** Codes of set 2 for codes 0x01 to 0x5d of set 1, in hexadecimal; 00 where there is none. */
const SET_2 =
  "76161e26252e363d3e46454e55660d151d242d2c353c43444d545b5a141c1b23" +
  "2b34333b424b4c520e125d1a22212a32313a41494a597c1129580506040c030b" +
  "830a0109777e6c757d7b6b73747969727a7071000061780700001f272f";

/** KEY_* of the keys that came with the enhanced keyboard, whose codes have a prefix, each with its code of set 1. */
const EXTENDED: readonly (readonly [number, number])[] = [
  [96, 0x1c],
  [97, 0x1d],
  [98, 0x35],
  [100, 0x38],
  [102, 0x47],
  [103, 0x48],
  [104, 0x49],
  [105, 0x4b],
  [106, 0x4d],
  [107, 0x4f],
  [108, 0x50],
  [109, 0x51],
  [110, 0x52],
  [111, 0x53],
  [125, 0x5b],
  [126, 0x5c],
  [127, 0x5d],
];

const set2 = Array.from({ length: SET_2.length / 2 }, (_, i) =>
  Number.parseInt(SET_2.slice(2 * i, 2 * i + 2), 16),
);
const set1 = new Uint8Array(256).map((_, code) => set2.indexOf(code) + 1 || code);
const extended = new Map(EXTENDED);

/** The code of set 1 of a key whose codes begin with the prefix; 0 for other keys. */
export function extendedCode(keycode: number): number {
  return extended.get(keycode) ?? 0;
}

/** The code of set 2 for one of set 1; 0 when there is none. */
export function set2Of(code: number): number {
  return set2[code - 1] ?? 0;
}

/** The controller's translation: the code of set 1 for one of set 2. What is not a key's stays as it is. */
export function set1Of(code: number): number {
  return set1[code] as number;
}
