/** AML's objects, operators and statements (ACPI 6.5, 20.2.5), as far as the machine's tables need them. */
import { type Aml, integer, join, path, withLength } from "./encode.ts";

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
  return join([Op.Name], path(of), value);
}

export function scope(of: string, ...content: Aml[]): Aml {
  return withLength([Op.Scope], join(path(of), ...content));
}

export function device(of: string, ...content: Aml[]): Aml {
  return withLength([Op.Extended, Op.ExtendedDevice], join(path(of), ...content));
}

/** A method that runs once at a time, because it makes named fields. */
export function serializedMethod(of: string, argumentCount: number, ...body: Aml[]): Aml {
  return withLength([Op.Method], join(path(of), [argumentCount | METHOD_SERIALIZED], ...body));
}

export function packageOf(...elements: Aml[]): Aml {
  return withLength([Op.Package], join([elements.length], ...elements));
}

export function buffer(bytes: readonly number[]): Aml {
  return withLength([Op.Buffer], join(integer(bytes.length), bytes));
}

export function argument(n: number): Aml {
  return [Op.Arg0 + n];
}

export function createDWordField(source: Aml, byteIndex: number, of: string): Aml {
  return join([Op.CreateDWordField], source, integer(byteIndex), path(of));
}

export function or(a: Aml, b: Aml, target: Aml = NO_TARGET): Aml {
  return join([Op.Or], a, b, target);
}

export function equal(a: Aml, b: Aml): Aml {
  return join([Op.Equal], a, b);
}

export function not(a: Aml): Aml {
  return join([Op.Not], a);
}

export function ifThen(condition: Aml, ...then: Aml[]): Aml {
  return withLength([Op.If], join(condition, ...then));
}

/** Follows an `ifThen` directly. */
export function otherwise(...then: Aml[]): Aml {
  return withLength([Op.Else], join(...then));
}

export function returns(value: Aml): Aml {
  return join([Op.Return], value);
}
