/**
 * The x86 filter in front of LZMA (LZMA SDK, "BCJ x86"): targets of CALL and JMP, which are relative to the instruction
 * and so differ at each place, become absolute and so alike.
 *
 * Opcode bytes also occur within operands. Which of the last bytes looked like opcodes is kept in a mask of three bits;
 * it decides whether a match counts, and which byte of the target has to look like a sign.
 */

const CALL = 0xe8;
const JMP = 0xe9;
/** By that mask: whether an opcode after such a history is taken for one. */
const taken = [true, true, true, false, true, false, false, false] as const;
/** By that mask: which bit of the target the doubtful byte is at. */
const doubtfulByte = [0, 1, 2, 2, 3, 3, 3, 3] as const;
const OPERAND_BYTES = 4;
const INSTRUCTION_BYTES = 1 + OPERAND_BYTES;

const looksLikeSign = (byte: number): boolean => byte === 0 || byte === 0xff;

function convert(source: Uint8Array, direction: 1 | -1): Uint8Array {
  const data = source.slice();
  let mask = 0;
  let last = -1; // where the last opcode was, or seemed to be
  for (let at = 0; at + INSTRUCTION_BYTES <= data.length; ) {
    if (data[at] !== CALL && data[at] !== JMP) {
      at++;
      continue;
    }
    const since = at - last;
    last = at;
    mask = since > 3 ? 0 : (mask << (since - 1)) & 7;
    const doubtful = doubtfulByte[mask] as number;
    const sign = data[at + OPERAND_BYTES] as number;
    if (mask !== 0 && (!taken[mask] || looksLikeSign(data[at + OPERAND_BYTES - doubtful] as number))) {
      mask = ((mask << 1) & 7) | 1;
      at++;
      continue;
    }
    if (!looksLikeSign(sign)) {
      mask = ((mask << 1) & 7) | 1;
      at++;
      continue;
    }
    const from =
      (data[at + 1] as number) |
      ((data[at + 2] as number) << 8) |
      ((data[at + 3] as number) << 16) |
      (sign << 24);
    const to = absolute(from, at + INSTRUCTION_BYTES, direction, mask, doubtful);
    data[at + 1] = to;
    data[at + 2] = to >>> 8;
    data[at + 3] = to >>> 16;
    data[at + 4] = (to >>> 24) & 1 ? 0xff : 0;
    at += INSTRUCTION_BYTES; // the next opcode is too far from this one for the mask to matter
  }
  return data;
}

/** Moves the target until the byte that history makes doubtful no longer looks like a sign. */
function absolute(from: number, next: number, direction: 1 | -1, mask: number, doubtful: number): number {
  let value = from;
  for (;;) {
    const moved = (value + direction * next) | 0;
    if (mask === 0) return moved;
    const bits = doubtful * 8;
    if (!looksLikeSign((moved >>> (24 - bits)) & 0xff)) return moved;
    value = moved ^ ((1 << (32 - bits)) - 1);
  }
}

/** Relative to absolute, before packing. */
export function x86Encode(data: Uint8Array): Uint8Array {
  return convert(data, 1);
}

/** Absolute to relative, after unpacking. */
export function x86Decode(data: Uint8Array): Uint8Array {
  return convert(data, -1);
}
