/** Rejected promises that nobody listens to. */

/** Calls back instead of ending the process with status 70, which is what happens otherwise. */
export function onUnhandledRejection(callback: (reason: unknown) => void): void {
  bridge.onUnhandledRejection = callback;
}
