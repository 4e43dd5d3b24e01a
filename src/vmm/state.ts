/** Reading a saved device state back: every field is checked once, here, so that devices may trust what they restore. */
import { ThimbleError } from "../base/errors.ts";
import type { DeviceState } from "./contract.ts";

export class StateReader {
  readonly #device: string;
  readonly #state: DeviceState;

  /** Throws ThimbleError("bad_state") unless the state has this version. */
  constructor(device: string, state: DeviceState, version: number) {
    this.#device = device;
    this.#state = state;
    if (typeof state !== "object" || state === null || state.version !== version) {
      throw new ThimbleError("bad_state", `The saved state of ${device} is not of version ${version}.`);
    }
  }

  /** A whole number from `min` to `max`. */
  integer(field: string, min: number, max: number): number {
    const value = this.#state[field];
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.#bad(field, `a whole number from ${min} to ${max}`);
  }

  /** Any finite number: differences of clocks. */
  finite(field: string): number {
    const value = this.#state[field];
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.#bad(field, "a finite number");
  }

  u8(field: string): number {
    return this.integer(field, 0, 0xff);
  }

  u16(field: string): number {
    return this.integer(field, 0, 0xffff);
  }

  u32(field: string): number {
    return this.integer(field, 0, 0xffff_ffff);
  }

  flag(field: string): boolean {
    const value = this.#state[field];
    if (typeof value === "boolean") return value;
    throw this.#bad(field, "true or false");
  }

  /** One of a few words. */
  oneOf<T extends string>(field: string, words: readonly T[]): T {
    const found = words.find((word) => word === this.#state[field]);
    if (found !== undefined) return found;
    throw this.#bad(field, `one of ${words.join(", ")}`);
  }

  /** An array of at most `maxLength` bytes. */
  bytes(field: string, maxLength: number): readonly number[] {
    return this.integers(field, 0, 0xff, maxLength);
  }

  /** An array of at most `maxLength` whole numbers from `min` to `max`. */
  integers(field: string, min: number, max: number, maxLength: number): readonly number[] {
    const value = this.#state[field];
    const fits = (x: unknown) => typeof x === "number" && Number.isInteger(x) && x >= min && x <= max;
    if (Array.isArray(value) && value.length <= maxLength && value.every(fits)) return value as number[];
    throw this.#bad(field, `an array of at most ${maxLength} whole numbers from ${min} to ${max}`);
  }

  /** An array of exactly `length` bytes. */
  exactBytes(field: string, length: number): readonly number[] {
    const value = this.bytes(field, length);
    if (value.length === length) return value;
    throw this.#bad(field, `an array of ${length} bytes`);
  }

  /** An array of exactly `length` unsigned 32-bit numbers. */
  dwords(field: string, length: number): readonly number[] {
    const value = this.#state[field];
    const isDword = (x: unknown) => typeof x === "number" && x >= 0 && x === x >>> 0;
    if (Array.isArray(value) && value.length === length && value.every(isDword)) return value as number[];
    throw this.#bad(field, `an array of ${length} 32-bit numbers`);
  }

  /** The states of exactly `length` parts, which check them themselves. */
  list(field: string, length: number): readonly DeviceState[] {
    const value = this.#state[field];
    const isState = (x: unknown) => typeof x === "object" && x !== null;
    if (Array.isArray(value) && value.length === length && value.every(isState))
      return value as DeviceState[];
    throw this.#bad(field, `an array of ${length} objects`);
  }

  /** The state of a part, which checks it itself. */
  nested(field: string): DeviceState {
    const value = this.#state[field];
    if (typeof value === "object" && value !== null) return value as DeviceState;
    throw this.#bad(field, "an object");
  }

  #bad(field: string, expected: string): ThimbleError {
    return new ThimbleError(
      "bad_state",
      `The saved state of ${this.#device} has a field "${field}" that is not ${expected}.`,
    );
  }
}
