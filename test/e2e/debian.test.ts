/** Debian as people install it, on a GPT disk with GRUB, through OVMF: network, both consoles, orderly shutdown. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import type { ApiClient } from "../../src/rig/api-client.ts";
import type { Vm } from "../../src/rig/api-types.ts";
import type { ConsoleConnection } from "../../src/rig/console-connection.ts";
import type { DebianRelease } from "../../src/rig/guest/guest-system.ts";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { eventually } from "../../src/rig/time.ts";
import { debianDisk } from "../framework/debian-disk.ts";
import { keepText } from "../framework/evidence.ts";
import { uploadFirmware } from "../framework/firmware.ts";
import { serveText } from "../framework/http.ts";
import { waitForScreen } from "../framework/screen-text.ts";
import { sharedServer } from "../framework/servers.ts";
import { ensureImage, MiB, removeVm } from "../framework/test-vm.ts";

const bootTimeoutMs = 300_000;
const promptTimeoutMs = 60_000;
const sbin = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };

/** Where the second partition of a disk begins. */
function rootOffsetBytes(disk: string): number {
  const table = JSON.parse(execFileSync("sfdisk", ["--json", disk], { env: sbin, encoding: "utf8" }));
  return table.partitiontable.partitions[1].start * table.partitiontable.sectorsize;
}

/** Logs in on the serial line; bash would edit lines, with escape sequences, so another shell takes over. */
async function logIn(console: ConsoleConnection): Promise<GuestShell> {
  await console.feed.waitFor(/debian login:/, bootTimeoutMs);
  console.type("root\n");
  await console.feed.waitFor(/Password:/, promptTimeoutMs);
  console.type("thimble\n");
  await console.feed.waitFor(/root@debian:/, promptTimeoutMs);
  console.type("exec sh\n");
  return GuestShell.takeOver(console, promptTimeoutMs);
}

/** The system is what was installed, and has CPUs, disk, network and input. */
async function seesItsMachine(shell: GuestShell, release: DebianRelease): Promise<void> {
  assert.match(await shell.output("cat /etc/debian_version"), new RegExp(`^${release}\\.`));
  assert.equal(await shell.output("[ -d /sys/firmware/efi ] && nproc"), "2");
  assert.match(await shell.output("lsblk -no PTTYPE,FSTYPE,MOUNTPOINTS /dev/vda"), /gpt +ext4 +\//);
  assert.match(await shell.output("networkctl status --no-pager 2>&1"), /10\.0\.2\.\d+/);
  const page = await serveText("a page for the guest\n");
  assert.equal(await shell.output(`wget -qO- ${page.url}`), "a page for the guest");
  page.close();
  assert.equal(await shell.output("systemctl --failed --no-legend --no-pager"), "");
  // udev has found the driver of keyboard and tablet by itself.
  assert.match(await shell.output("cat /proc/bus/input/devices"), /Thimble keyboard[\s\S]*Thimble tablet/);
}

/** The login prompt is on the screen, and what the API types is taken there. */
async function takesKeysOnScreen(api: ApiClient, id: string, name: string): Promise<void> {
  await waitForScreen(api, id, /debian login:/, { name, timeoutMs: promptTimeoutMs });
  await api.sendKeys(id, { text: "root\n" });
  // OCR takes the font's "w" for a "u".
  await waitForScreen(api, id, /Pass.{1,3}ord ?:/, { name: `${name}-typed`, timeoutMs: promptTimeoutMs });
}

/** Debian's agent, which its package starts by itself, tells the host who the guest is. */
async function knowsItsGuest(api: ApiClient, id: string): Promise<void> {
  const agent = await eventually(promptTimeoutMs, "the guest's agent and its addresses", async () => {
    const { guestAgent } = await api.vm(id);
    return guestAgent?.addresses?.some(({ address }) => address.startsWith("10.0.2."))
      ? guestAgent
      : undefined;
  });
  assert.equal(agent.hostName, "debian");
  assert.match(agent.osName ?? "", /^Debian GNU\/Linux/);
  assert.equal(await api.guest(id, "freeze", { timeoutMs: 60_000 }), 1);
  assert.equal(await api.guest(id, "thaw"), 1);
}

/** The root file system of a disk that came back from the host is clean, for the tools that made it. */
function isClean(content: Uint8Array): void {
  const directory = mkdtempSync(join(tmpdir(), "thimble-disk-"));
  try {
    const disk = join(directory, "disk.img");
    writeFileSync(disk, content);
    const root = `${disk}?offset=${rootOffsetBytes(disk)}`;
    execFileSync("e2fsck", ["-f", "-n", root], { env: sbin, stdio: "pipe" });
    assert.match(execFileSync("dumpe2fs", ["-h", root], { env: sbin, encoding: "utf8" }), /state: +clean/);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function bootsAndShutsDown(release: DebianRelease): Promise<void> {
  const { api } = await sharedServer();
  const name = `debian-${release}`;
  const image = `${name}.img`;
  let vm: Vm | undefined;
  try {
    await ensureImage(api, image, await debianDisk(release));
    vm = await api.createVm({
      name,
      cpus: 2,
      memoryBytes: 1024 * MiB,
      boot: { ...(await uploadFirmware(api)), bootOrder: ["disk0"] },
      disks: [{ image }],
      networks: [{}],
      graphics: true,
    });
    await api.act(vm.id, "start");
    const console = await api.console(vm.id);
    await seesItsMachine(await logIn(console), release);
    await takesKeysOnScreen(api, vm.id, name);

    await knowsItsGuest(api, vm.id);

    // One is told by its agent, the other by the power button.
    await api.act(vm.id, "shutdown", promptTimeoutMs, release === 12 ? undefined : "acpi");
    assert.equal((await api.vm(vm.id)).lastEnd?.cause, "guest-power-off");
    const said = console.feed.since(0);
    assert.match(said, /Reached target.*Power[\s-]?Off|System Power Off/i);
    assert.match(said, /reboot: Power down/);
    keepText(`${name}-console`, said);
    console.vanish();
    isClean(await api.downloadImage(image));
  } finally {
    if (vm !== undefined) await removeVm(api, vm.id);
    await api.deleteImage(image).catch(() => {});
  }
}

// Both at once: each waits now and then for what the other does not need.
describe("installed Debian", { concurrency: true }, () => {
  before(async () => {
    await uploadFirmware((await sharedServer()).api);
  });

  for (const release of [12, 13] as const) {
    test(`${release} boots by GRUB, has network and both consoles, and shuts down in order`, () =>
      bootsAndShutsDown(release));
  }
});
