/** A request that cannot be served: the HTTP status, and what the API's error object says. */
import { ThimbleError } from "../../base/errors.ts";

export class RequestError extends ThimbleError {
  constructor(
    /** 400 to 599. */
    readonly status: number,
    code: string,
    message: string,
    /** The field of the request at fault, as a path: `disks[0].image`. */
    readonly field?: string,
    options?: { cause?: unknown },
  ) {
    super(code, message, options);
    this.name = "RequestError";
  }
}

/** The body of every error answer (docs/api.md). */
export function errorBody(error: { code: string; message: string; field?: string | undefined }): string {
  const { code, message, field } = error;
  return JSON.stringify({ error: { code, message, ...(field === undefined ? {} : { field }) } });
}
