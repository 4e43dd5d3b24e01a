/** VMs for end-to-end tests: made for one test, gone after it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { Vm, VmSpec } from "../../src/rig/api-types.ts";
import type { ConsoleConnection } from "../../src/rig/console-connection.ts";
import { type DebianRelease, guestSystem } from "../../src/rig/guest/guest-system.ts";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { buildDirectory } from "../../src/rig/paths.ts";

export const MiB = 1024 ** 2;
export const GiB = 1024 ** 3;

/** Longer than any boot seen, for a machine whose cores are shared. */
export const guestReadyTimeoutMs = 180_000;

/** Uploads a file under a name unless it is there already. */
export async function ensureImage(api: ApiClient, name: string, path: string): Promise<void> {
  if ((await api.images()).some((image) => image.name === name)) return;
  await api.uploadImage(name, { path });
}

export interface GuestOptions
  extends Partial<
    Pick<VmSpec, "cpus" | "cpu" | "memoryBytes" | "memory" | "disks" | "networks" | "graphics" | "vsock">
  > {
  readonly name?: string;
  readonly release?: DebianRelease;
  /** Added to "console=ttyS0". */
  readonly commandLine?: string;
}

let vmsMade = 0;

/** The specification of a VM with one of the test guests, whose kernel and initramfs are uploaded if need be. */
export async function guestSpec(api: ApiClient, options: GuestOptions = {}): Promise<VmSpec> {
  const {
    release = 13,
    commandLine = "",
    name,
    cpus = 1,
    cpu,
    memoryBytes = 256 * MiB,
    memory,
    disks,
    networks,
    graphics,
    vsock,
  } = options;
  const system = await guestSystem(release);
  await ensureImage(api, `kernel-${release}`, system.kernel);
  await ensureImage(api, `initramfs-${release}`, system.initramfs);
  return {
    name: name ?? `test-${++vmsMade}`,
    cpus,
    ...(cpu === undefined ? {} : { cpu }),
    memoryBytes,
    ...(memory === undefined ? {} : { memory }),
    boot: {
      kernel: `kernel-${release}`,
      initrd: `initramfs-${release}`,
      commandLine: `console=ttyS0 ${commandLine}`.trim(),
    },
    ...(disks === undefined ? {} : { disks }),
    ...(networks === undefined ? {} : { networks }),
    ...(graphics === undefined ? {} : { graphics }),
    ...(vsock === undefined ? {} : { vsock }),
  };
}

/** A VM whose guest can be talked to. */
export class TestVm {
  private constructor(
    readonly api: ApiClient,
    readonly vm: Vm,
    readonly console: ConsoleConnection,
    readonly shell: GuestShell,
  ) {}

  get id(): string {
    return this.vm.id;
  }

  /** Makes a VM, starts it and waits for its user space. On failure nothing is left. */
  static async boot(api: ApiClient, options: GuestOptions = {}): Promise<TestVm> {
    const vm = await api.createVm(await guestSpec(api, options));
    try {
      await api.act(vm.id, "start");
      return await TestVm.attach(api, vm);
    } catch (error) {
      await removeVm(api, vm.id);
      throw error;
    }
  }

  /** Attaches to a VM that has been started. */
  static async attach(api: ApiClient, vm: Vm): Promise<TestVm> {
    const console = await api.console(vm.id);
    try {
      return new TestVm(api, vm, console, await GuestShell.open(console, guestReadyTimeoutMs));
    } catch (error) {
      console.vanish();
      throw error;
    }
  }

  /** Ends the guest without asking it and deletes the VM. */
  async remove(): Promise<void> {
    this.console.vanish();
    await removeVm(this.api, this.id);
  }
}

/** Deletes a VM in whatever state it is. */
export async function removeVm(api: ApiClient, id: string): Promise<void> {
  if ((await api.vm(id)).state !== "stopped") await api.act(id, "force-off").catch(() => {});
  await api.deleteVm(id);
}

/** Keeps what a guest printed for whoever looks for the reason of a failure: build/log/guest-NAME.log. */
function keepConsole({ vm, console }: TestVm): void {
  const file = join(buildDirectory, "log", `guest-${vm.name}.log`);
  writeFileSync(file, console.feed.since(0));
  process.stdout.write(`  the guest's console: ${file}\n`);
}

/** Runs a test's body with a guest that is removed afterwards. */
export async function withGuest<T>(
  api: ApiClient,
  options: GuestOptions,
  body: (guest: TestVm) => Promise<T>,
): Promise<T> {
  const guest = await TestVm.boot(api, options);
  try {
    return await body(guest);
  } catch (error) {
    keepConsole(guest);
    throw error;
  } finally {
    await guest.remove();
  }
}
