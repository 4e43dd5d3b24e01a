/** fio in a guest: a root disk with Debian's fio and its libraries, and runs that must find no difference. */
import type { ApiClient } from "../../src/rig/api-client.ts";
import { rootDisk } from "../../src/rig/guest/guest-system.ts";
import { programTree } from "../../src/rig/guest/program-tree.ts";
import type { GuestShell } from "../../src/rig/guest/shell.ts";
import { ensureImage, MiB } from "./test-vm.ts";

/** fio comes with 80 MB of libraries for engines that nobody here uses. */
const diskBytes = 128 * MiB;

/** Uploads the disk if need be. Returns its image name; attach it read-only, boot with `root=/dev/vda ro`. */
export async function ensureFioDisk(api: ApiClient): Promise<string> {
  const path = await rootDisk({
    name: "fio",
    sizeBytes: diskBytes,
    tree: programTree("fio", "/usr/bin/fio"),
  });
  await ensureImage(api, "fio-root.img", path);
  return "fio-root.img";
}

/** What fio is told, one option a property; `true` gives the bare option. */
export type FioOptions = Readonly<Record<string, string | number | true>>;

/** The command line for such a run. */
export function fioCommand(options: FioOptions): string {
  // Without it a run that finds a difference says so and ends with status 0.
  const words = Object.entries<string | number | true>({ ...options, verify_fatal: 1 }).map(
    ([name, value]) => (value === true ? `--${name}` : `--${name}=${value}`),
  );
  return `/usr/bin/fio --output-format=terse ${words.join(" ")}`;
}

/** Runs fio and gives its output. Errors: `guest_command_failed` with fio's words. */
export function fio(shell: GuestShell, options: FioOptions, timeoutMs = 300_000): Promise<string> {
  return shell.output(fioCommand(options), timeoutMs);
}
