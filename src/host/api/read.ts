/** Requests become checked values here, or a RequestError that names the field. */
import * as v from "valibot";
import { utf8Decode } from "../../sys/text.ts";
import { parseBoundedJson } from "../bounded-json.ts";
import { RequestError } from "../http/errors.ts";
import { isUtf8 } from "../http/utf8.ts";
import { join } from "../join.ts";

/** Every description fits many times. */
export const JSON_SIZE_MAX = 256 * 1024;
/** No request is nested deeper. */
const JSON_DEPTH_MAX = 32;

/** The value when it fits the schema. Throws RequestError (400). */
export function checked<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = fieldPath(issue.path);
  const isUnknown = issue.expected === "never";
  const isMissing = issue.input === undefined && !isUnknown;
  const rule = isUnknown ? "is not a known field" : isMissing ? "is missing" : issue.message;
  const detail = isMissing && !issue.message.startsWith("Invalid key") ? `: it ${issue.message}` : "";
  throw new RequestError(
    400,
    "invalid_request",
    `${field === "" ? "The request's body" : field} ${rule}${detail}.`,
    field === "" ? undefined : field,
  );
}

/** `disks[0].image` */
function fieldPath(path: readonly { readonly key: unknown }[] | undefined): string {
  let text = "";
  for (const { key } of path ?? []) {
    text += typeof key === "number" ? `[${key}]` : `${text === "" ? "" : "."}${String(key)}`;
  }
  return text;
}

/** The body as JSON that fits the schema. `whenEmpty` stands for a body that is not there. */
export async function readJson<S extends v.GenericSchema>(
  request: Request,
  schema: S,
  whenEmpty?: unknown,
): Promise<v.InferOutput<S>> {
  const bytes = await readAll(request);
  if (bytes.length === 0 && whenEmpty !== undefined) return checked(schema, whenEmpty);
  return checked(schema, parseJson(bytes));
}

/** Reads the whole body. Throws RequestError (413). */
async function readAll(request: Request): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > JSON_SIZE_MAX) {
      throw new RequestError(
        413,
        "body_too_large",
        `The request's body is larger than ${JSON_SIZE_MAX} bytes.`,
      );
    }
    pieces.push(value);
  }
  return join(...pieces);
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    if (!isUtf8(bytes)) throw new SyntaxError("it is not UTF-8");
    return parseBoundedJson(utf8Decode(bytes), JSON_DEPTH_MAX);
  } catch (error) {
    const reason = bytes.length === 0 ? "it is empty" : error instanceof Error ? error.message : "";
    throw new RequestError(400, "bad_json", `The request's body is not valid JSON: ${reason}.`);
  }
}
