/** Values of a configuration, checked as they are taken: each function returns what it was given or names the field at fault. */
import { ThimbleError } from "../base/errors.ts";

/** sun_path of a Unix socket less the zero at the end. */
const SOCKET_PATH_MAX = 107;
/** PATH_MAX less the zero at the end. */
export const PATH_MAX = 4095;

export type Json = Readonly<Record<string, unknown>>;

/** Throws ThimbleError("bad_config") whose message begins with the field's name. */
export function bad(field: string, problem: string): never {
  throw new ThimbleError("bad_config", `${field === "" ? "the configuration" : field} ${problem}`);
}

/** An object with none but the named fields. */
export function object(value: unknown, field: string, names: readonly string[]): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) bad(field, "must be an object");
  for (const name of Object.keys(value)) {
    if (!names.includes(name)) bad(field === "" ? name : `${field}.${name}`, "is not a known field");
  }
  return value as Json;
}

/** An array of at most `max` elements, each parsed with its own field name. */
export function list<T>(
  value: unknown,
  field: string,
  max: number,
  parse: (item: unknown, field: string) => T,
): T[] {
  if (!Array.isArray(value)) bad(field, "must be an array");
  if (value.length > max) bad(field, `must have at most ${max} elements`);
  return value.map((item, i) => parse(item, `${field}[${i}]`));
}

export function integer(value: unknown, field: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    bad(field, `must be a whole number from ${min} to ${max}`);
  }
  return value;
}

export function boolean(value: unknown, field: string): boolean {
  if (typeof value !== "boolean") bad(field, "must be true or false");
  return value;
}

export function string(value: unknown, field: string, min: number, max: number): string {
  if (typeof value !== "string" || value.length < min || value.length > max || value.includes("\0")) {
    bad(field, `must be a string of ${min} to ${max} characters without a zero character`);
  }
  return value;
}

/** 1 to `max` printable characters. */
export function ascii(value: unknown, field: string, max: number): string {
  const text = string(value, field, 1, max);
  if (!/^[ -~]*$/.test(text)) bad(field, "must be printable ASCII");
  return text;
}

/** What fits sun_path. */
export function socketPath(value: unknown, field: string): string {
  return string(value, field, 1, SOCKET_PATH_MAX);
}

export function orElse(value: unknown, absent: unknown): unknown {
  return value === undefined ? absent : value;
}

export function optional<T>(value: unknown, parse: (value: unknown) => T): T | undefined {
  return value === undefined ? undefined : parse(value);
}

/** A property that is there only when it has a value. */
export function present<K extends string, V>(name: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]: V });
}
