/** Sockets between guest and host (vsock): data both ways, and a reset in the middle of it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { entriesOfTree } from "../../src/rig/guest/qemu-peer.ts";
import { GuestShell } from "../../src/rig/guest/shell.ts";
import { eventually } from "../../src/rig/time.ts";
import { ensureSocatDisk, socatTree } from "../framework/channels.ts";
import { startTransparentServer, type TransparentServer } from "../framework/servers.ts";
import { guestReadyTimeoutMs, withGuest } from "../framework/test-vm.ts";

const PATIENCE_MS = 60_000;
const bytes = 8 * 1024 ** 2;
const HOST_CID = 2;

/** Where socat is, on the host and in the guest. */
const onHost = "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu /usr/bin/socat";
const inGuest = "chroot /mnt /usr/bin/socat";

/** Drivers and socat in a guest that has just booted. */
async function prepare(shell: GuestShell): Promise<void> {
  for (const module of ["vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"]) {
    await shell.output(`insmod /modules/${module}`);
  }
  await shell.output(
    "mount -t ext4 -o ro /dev/vda /mnt && mount -o bind /dev /mnt/dev && mount -o bind /run /mnt/run",
  );
}

/** Not as the shell's own child: busybox's, which has no terminal of its own here, does not survive its end. */
const inBackground = (shell: GuestShell, command: string) =>
  shell.output(`( { ${command}; } </dev/null >/dev/null 2>/run/err & ); echo begun`);

const sumOf = async (shell: GuestShell, file: string) =>
  (await shell.output(`md5sum <${file}`)).split(" ")[0];

describe("vsock", () => {
  let transparent: TransparentServer;

  before(async () => {
    transparent = await startTransparentServer("e2e-vsock", { files: entriesOfTree(socatTree()) });
  });

  after(async () => {
    transparent?.api.close();
    await transparent?.server.powerOff();
  });

  /** Sends a file from one side to a listener on the other; both ends must have the same. */
  async function carries(from: GuestShell, to: GuestShell, listen: string, connect: string): Promise<void> {
    await from.output(`dd if=/dev/urandom of=/run/out bs=1M count=${bytes / 1024 ** 2} 2>/dev/null`);
    await inBackground(to, `rm -f /run/in /run/done; ${listen}; touch /run/done`);
    await to.output("sleep 1");
    await from.output(`${connect} </dev/null 2>&1`, PATIENCE_MS);
    await eventually(PATIENCE_MS, "the end of the data", async () =>
      (await to.run("test -e /run/done")).status === 0 ? true : undefined,
    );
    assert.equal(await sumOf(to, "/run/in"), await sumOf(from, "/run/out"));
  }

  test("guest and host send each other data, also after a reset in the middle of it", async () => {
    const { api, host } = transparent;
    const image = await ensureSocatDisk(api);
    await withGuest(api, { disks: [{ image, readOnly: true }], vsock: {} }, async (guest) => {
      const { cid } = guest.vm.vsock ?? {};
      assert.ok(cid !== undefined && cid >= 3);
      let { shell } = guest;
      await prepare(shell);
      await carries(
        shell,
        host,
        `${onHost} -u VSOCK-LISTEN:5000 CREATE:/run/in`,
        `${inGuest} -u OPEN:/run/out,rdonly VSOCK-CONNECT:${HOST_CID}:5000`,
      );
      await carries(
        host,
        shell,
        `${inGuest} -u VSOCK-LISTEN:6000 CREATE:/run/in`,
        `${onHost} -u OPEN:/run/out,rdonly VSOCK-CONNECT:${cid}:6000`,
      );

      // A stream without end each way, and a reset.
      await inBackground(shell, `${inGuest} -u VSOCK-LISTEN:7000 OPEN:/dev/null`);
      await shell.output("sleep 1");
      await inBackground(
        host,
        `${onHost} -u OPEN:/dev/zero,rdonly VSOCK-CONNECT:${cid}:7000; touch /run/ended`,
      );
      await host.output("sleep 2");
      assert.equal((await host.run("test -e /run/ended")).status, 1);
      const position = guest.console.feed.position;
      await api.act(guest.id, "reset");
      shell = await GuestShell.open(guest.console, guestReadyTimeoutMs, position);
      await eventually(PATIENCE_MS, "the end of the host's connection", async () =>
        (await host.run("test -e /run/ended")).status === 0 ? true : undefined,
      );
      await prepare(shell);
      await carries(
        shell,
        host,
        `${onHost} -u VSOCK-LISTEN:5000 CREATE:/run/in`,
        `${inGuest} -u OPEN:/run/out,rdonly VSOCK-CONNECT:${HOST_CID}:5000`,
      );
      await carries(
        host,
        shell,
        `${inGuest} -u VSOCK-LISTEN:6000 CREATE:/run/in`,
        `${onHost} -u OPEN:/run/out,rdonly VSOCK-CONNECT:${cid}:6000`,
      );
      assert.equal((await api.vm(guest.id)).state, "running");
    });
  });
});
