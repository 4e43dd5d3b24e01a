/**
 * Simulated servers for end-to-end tests.
 *
 * Tests that only use the API share one server, started at first use and powered off when all tests of the process
 * are done. Tests that must see the host from the inside, or end it, start their own.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { type CpioEntry, cpioArchive } from "../../src/image/cpio.ts";
import type { Accelerator } from "../../src/rig/accelerator.ts";
import type { ApiClient } from "../../src/rig/api-client.ts";
import { directoryEntry, fileEntry, programEntry } from "../../src/rig/guest/archive-entries.ts";
import { busyboxPath } from "../../src/rig/guest/packages.ts";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { buildDirectory, makeRunDirectory } from "../../src/rig/paths.ts";
import { accelerator, buildProduct, type Product } from "../../src/rig/product.ts";
import { Progress } from "../../src/rig/progress.ts";
import { SimulatedServer } from "../../src/rig/server.ts";

const GiB = 1024 ** 3;
export const hostReadyTimeoutMs = 180_000;

let product: Promise<Product> | undefined;
let chosenAccelerator: Promise<Accelerator> | undefined;

/** The product under test, built if needed. */
export function testProduct(): Promise<Product> {
  product ??= buildProduct(new Progress());
  return product;
}

/** The accelerator of this machine, chosen once. */
export async function testAccelerator(): Promise<Accelerator> {
  chosenAccelerator ??= accelerator(await testProduct());
  return chosenAccelerator;
}

export interface TestServer {
  readonly server: SimulatedServer;
  readonly api: ApiClient;
}

/** Powers on a server from flash, as a user has it. The caller powers it off. */
export async function startServer(
  name: string,
  options: { memoryBytes?: number; nic?: "virtio-net-pci" | "e1000e" } = {},
): Promise<TestServer> {
  const { flash } = await testProduct();
  const server = await SimulatedServer.start({
    name,
    boot: flash,
    accelerator: await testAccelerator(),
    // A guest of 5 GiB must fit; memory that nobody touches costs this machine nothing.
    memoryBytes: options.memoryBytes ?? 8 * GiB,
    ...(options.nic === undefined ? {} : { nic: options.nic }),
  });
  try {
    return { server, api: await server.waitForApi(hostReadyTimeoutMs) };
  } catch (error) {
    await server.cutPower();
    throw error;
  }
}

let shared: Promise<TestServer> | undefined;

/** The server that tests share. Tests leave no VM and no image of their own on it. */
export function sharedServer(): Promise<TestServer> {
  shared ??= startServer("e2e-shared");
  return shared;
}

after(async () => {
  const started = await shared?.catch(() => undefined);
  started?.api.close();
  await started?.server.powerOff();
});

export interface TransparentServer extends TestServer {
  /** A shell on the host, beside Thimble's own processes. */
  readonly host: GuestShell;
}

/**
 * Powers on a server with a window to look inside: the same image, but started with one more initramfs whose first
 * program puts a shell on the second serial port and then becomes Thimble's init. The product itself has no such
 * door, which is why these tests do not boot from flash. `files` are there too.
 */
export async function startTransparentServer(
  name: string,
  options: {
    readonly files?: readonly CpioEntry[];
    readonly commandLine?: string;
    /** QEMU's arguments for further devices. */
    readonly more?: readonly string[];
  } = {},
): Promise<TransparentServer> {
  const directory = makeRunDirectory(`${name}-files`);
  const busybox = readFileSync(await busyboxPath());
  const script = [
    "b=/test/busybox",
    "$b mkdir -p /dev /test/bin",
    "$b mount -t devtmpfs devtmpfs /dev",
    "$b --install -s /test/bin",
    "PATH=/test/bin $b setsid $b sh </dev/ttyS1 >/dev/ttyS1 2>&1 &",
    // The shell keeps what it has open; init finds the directory as it would without us.
    "$b sleep 0.2",
    "$b umount -l /dev",
    "exec /init",
  ];
  const initrd = join(directory.path, "transparent.cpio");
  writeFileSync(
    initrd,
    cpioArchive([
      directoryEntry("test"),
      programEntry("test/busybox", busybox),
      fileEntry("test/init.sh", Buffer.from(`${script.join("\n")}\n`)),
      ...(options.files ?? []),
    ]),
  );
  const server = await SimulatedServer.start({
    name,
    boot: {
      kind: "direct",
      kernel: (await testProduct()).image,
      initrd,
      commandLine: `${options.commandLine ?? ""} rdinit=/test/busybox -- sh /test/init.sh`.trim(),
    },
    accelerator: await testAccelerator(),
    memoryBytes: 4 * GiB,
    withSecondSerial: true,
    ...(options.more === undefined ? {} : { more: options.more }),
  });
  server.off.then(() => directory.remove());
  try {
    const api = await server.waitForApi(hostReadyTimeoutMs);
    const terminal = { feed: server.secondConsole, type: (text: string) => server.typeOnSecond(text) };
    return { server, api, host: await GuestShell.takeOver(terminal, 30_000) };
  } catch (error) {
    await server.cutPower();
    throw error;
  }
}

/** A directory for what a test wants to leave for people to read. */
export const artifactDirectory = join(buildDirectory, "test-artifacts");
