/** Keyboard and pointer of a VNC client that others wrote: gtk-vnc's, without a window. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ApiClient } from "../../src/rig/api-client.ts";

const TIMEOUT_MS = 60_000;

/** A key by its keysym, or the pointer's place and buttons (1 left, 2 middle, 4 right, 8 and 16 the wheel). */
export type InputStep =
  | { readonly keysym: number; readonly down: boolean }
  | { readonly x: number; readonly y: number; readonly buttons: number };

/** Does the steps at a VM's display, one after the other. */
export async function vncInput(api: ApiClient, id: string, steps: readonly InputStep[]): Promise<void> {
  const script = fileURLToPath(new URL("vnc-input.py", import.meta.url));
  const display = await api.display(id);
  const words = steps.map((step) =>
    "keysym" in step
      ? `key,${step.keysym},${step.down ? 1 : 0}`
      : `pointer,${step.x},${step.y},${step.buttons}`,
  );
  try {
    // Debian's own Python: the one that has Debian's modules.
    await promisify(execFile)("/usr/bin/python3", [script, String(display.port), ...words], {
      timeout: TIMEOUT_MS,
    });
  } finally {
    display.close();
  }
}
