/**
 * The main job, step by step: power a server on, give it a guest, start it, use it, and power all off.
 *
 * Each function is one step of `npm start`; the order and what is shown are in start.ts.
 */
import type { ApiClient } from "./api-client.ts";
import type { Vm } from "./api-types.ts";
import type { ConsoleConnection } from "./console-connection.ts";
import { type GuestSystem, guestSystem, rootDisk } from "./guest/guest-system.ts";
import { GuestShell } from "./guest/shell.ts";

const MiB = 1024 * 1024;

export interface DemoGuest {
  readonly system: GuestSystem;
  readonly disk: string;
}

/** Debian 13's cloud kernel and a small root filesystem. */
export async function makeDemoGuest(): Promise<DemoGuest> {
  return { system: await guestSystem(13), disk: await rootDisk() };
}

export async function uploadGuest(api: ApiClient, guest: DemoGuest): Promise<void> {
  await api.uploadImage("debian-13-kernel", { path: guest.system.kernel });
  await api.uploadImage("debian-13-initramfs", { path: guest.system.initramfs });
  await api.uploadImage("demo-root.img", { path: guest.disk });
}

export function createDemoVm(api: ApiClient): Promise<Vm> {
  return api.createVm({
    name: "demo",
    cpus: 1,
    memoryBytes: 512 * MiB,
    boot: {
      kernel: "debian-13-kernel",
      initrd: "debian-13-initramfs",
      commandLine: "console=ttyS0 root=/dev/vda rw guest.dhcp",
    },
    disks: [{ image: "demo-root.img" }],
    networks: [{}],
  });
}

export interface RunningGuest {
  readonly console: ConsoleConnection;
  readonly shell: GuestShell;
  /** From the request to start to the guest's user space, as seen on its console. */
  readonly readyMs: number;
}

/** Starts the VM and waits for the guest's user space. */
export async function startGuest(api: ApiClient, vm: Vm, timeoutMs: number): Promise<RunningGuest> {
  const start = performance.now();
  let readyMs = 0;
  await api.act(vm.id, "start");
  const console = await api.console(vm.id);
  const shell = await GuestShell.open(console, timeoutMs, 0, () => {
    readyMs = Math.round(performance.now() - start);
  });
  return { console, shell, readyMs };
}
