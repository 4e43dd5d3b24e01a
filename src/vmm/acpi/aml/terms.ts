/** AML's objects, operators and statements (ACPI 6.5, 20.2.5), as far as the machine's tables need them. */
import { type Aml, integer, path, withLength } from "./encode.ts";

const Op = {
  Name: 0x08,
  Scope: 0x10,
  Buffer: 0x11,
  Package: 0x12,
  Method: 0x14,
  Extended: 0x5b,
  ExtendedDevice: 0x82,
  Arg0: 0x68,
  Or: 0x7d,
  CreateDWordField: 0x8a,
  Not: 0x92,
  Equal: 0x93,
  If: 0xa0,
  Else: 0xa1,
  Return: 0xa4,
} as const;

const METHOD_SERIALIZED = 0x08;
/** "No target": the result of an operator is not stored. */
const NO_TARGET: Aml = [0];

export function name(of: string, value: Aml): Aml {
  return [Op.Name, ...path(of), ...value];
}

export function scope(of: string, ...content: Aml[]): Aml {
  return withLength([Op.Scope], [...path(of), ...content.flat()]);
}

export function device(of: string, ...content: Aml[]): Aml {
  return withLength([Op.Extended, Op.ExtendedDevice], [...path(of), ...content.flat()]);
}

/** A method that runs once at a time, because it makes named fields. */
export function serializedMethod(of: string, argumentCount: number, ...body: Aml[]): Aml {
  return withLength([Op.Method], [...path(of), argumentCount | METHOD_SERIALIZED, ...body.flat()]);
}

export function packageOf(...elements: Aml[]): Aml {
  return withLength([Op.Package], [elements.length, ...elements.flat()]);
}

export function buffer(bytes: readonly number[]): Aml {
  return withLength([Op.Buffer], [...integer(bytes.length), ...bytes]);
}

export function argument(n: number): Aml {
  return [Op.Arg0 + n];
}

export function createDWordField(source: Aml, byteIndex: number, of: string): Aml {
  return [Op.CreateDWordField, ...source, ...integer(byteIndex), ...path(of)];
}

export function or(a: Aml, b: Aml, target: Aml = NO_TARGET): Aml {
  return [Op.Or, ...a, ...b, ...target];
}

export function equal(a: Aml, b: Aml): Aml {
  return [Op.Equal, ...a, ...b];
}

export function not(a: Aml): Aml {
  return [Op.Not, ...a];
}

export function ifThen(condition: Aml, ...then: Aml[]): Aml {
  return withLength([Op.If], [...condition, ...then.flat()]);
}

/** Follows an `ifThen` directly. */
export function otherwise(...then: Aml[]): Aml {
  return withLength([Op.Else], then.flat());
}

export function returns(value: Aml): Aml {
  return [Op.Return, ...value];
}
