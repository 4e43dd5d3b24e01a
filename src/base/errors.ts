/**
 * Errors that a person can act on: what happened, to which object, what to do.
 *
 * `code` is stable and for programs (`vm_not_found`); the message is a sentence for people.
 */
export class ThimbleError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = "ThimbleError";
  }
}

/** The message of anything thrown, for logs and for wrapping. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
