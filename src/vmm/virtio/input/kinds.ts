/** The two input devices of a machine, and what each says of itself. */
import { PCI_VENDOR_ID } from "../bits.ts";
import {
  Axis,
  BTN_LEFT,
  BUS_VIRTUAL,
  EventType,
  InputAbsInfo,
  InputDevIds,
  InputSelect,
  LED_COUNT,
  REL_WHEEL,
} from "./bits.ts";

export interface InputKind {
  /** What the guest shows as the device's name. */
  readonly title: string;
  readonly product: number;
  /** PCI class code 0xBBSSPP: input controller, keyboard or other. */
  readonly classCode: number;
  /** Codes of its keys or buttons: `keyCount` from `firstKey` on, less `withoutKeys`. */
  readonly firstKey: number;
  readonly keyCount: number;
  readonly withoutKeys: readonly number[];
  /** It points: two axes and a wheel. Otherwise it has lamps, and the guest repeats its keys. */
  readonly pointer: boolean;
}

/**
 * KEY_* from Escape to Menu. Those between that viewers cannot send are left out: some mean power and volume, and a
 * guest treats a device that has them as a button for that.
 */
export const KEYBOARD: InputKind = {
  title: "Thimble keyboard",
  product: 1,
  classCode: 0x09_00_00,
  firstKey: 1,
  keyCount: 127,
  withoutKeys: [84, 112, 113, 114, 115, 116, 118, 120],
  pointer: false,
};

export const TABLET: InputKind = {
  title: "Thimble tablet",
  product: 2,
  classCode: 0x09_80_00,
  firstKey: BTN_LEFT,
  keyCount: 3,
  withoutKeys: [],
  pointer: true,
};

/** The largest position on an axis. */
export const AXIS_MAX = 32767;

export function hasKey(kind: InputKind, code: number): boolean {
  const { firstKey, keyCount, withoutKeys } = kind;
  return code >= firstKey && code < firstKey + keyCount && !withoutKeys.includes(code);
}

/** The answer to a selection in the configuration structure; nothing for one that the device does not know. */
export function describe(kind: InputKind, select: number, subselect: number): Uint8Array | readonly number[] {
  switch (select) {
    case InputSelect.ID_NAME:
      return Array.from(kind.title, (letter) => letter.charCodeAt(0));
    case InputSelect.ID_DEVIDS: {
      const { product } = kind;
      return InputDevIds.encode({ bustype: BUS_VIRTUAL, vendor: PCI_VENDOR_ID, product, version: 1 });
    }
    case InputSelect.EV_BITS:
      return bitmap(eventCodes(kind, subselect));
    case InputSelect.ABS_INFO:
      return kind.pointer && subselect <= Axis.y ? InputAbsInfo.encode({ max: AXIS_MAX }) : [];
    default:
      return [];
  }
}

/** Codes of an event type that the device knows. */
function eventCodes(kind: InputKind, type: number): number[] {
  switch (type) {
    case EventType.KEY:
      return Array.from({ length: kind.keyCount }, (_, i) => kind.firstKey + i).filter((code) =>
        hasKey(kind, code),
      );
    case EventType.REL:
      return kind.pointer ? [REL_WHEEL] : [];
    case EventType.ABS:
      return kind.pointer ? [Axis.x, Axis.y] : [];
    case EventType.LED:
      return kind.pointer ? [] : Array.from({ length: LED_COUNT }, (_, code) => code);
    case EventType.REP:
      // Delay and period: that it is there is what counts.
      return kind.pointer ? [] : [0, 1];
    default:
      return [];
  }
}

function bitmap(codes: readonly number[]): number[] {
  const bits: number[] = [];
  for (const code of codes) {
    const at = code >> 3;
    while (bits.length <= at) bits.push(0);
    bits[at] = (bits[at] as number) | (1 << (code & 7));
  }
  return bits;
}
