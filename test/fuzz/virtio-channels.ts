/** The devices of channels and sockets between guest and host. */
import assert from "node:assert/strict";
import { MiB } from "../../src/base/addresses.ts";
import { ConsoleControl, ConsoleEvent } from "../../src/vmm/virtio/console/bits.ts";
import { VirtioSerial } from "../../src/vmm/virtio/serial/device.ts";
import { TestChannel, TestKernel } from "../../src/vmm/virtio/testing/fakes.ts";
import { VirtioVsock } from "../../src/vmm/virtio/vsock/device.ts";
import type { World } from "./subject.ts";
import { BUFFERS, queueOf, type Side } from "./virtio-side.ts";

export function serialSide(world: World): Side {
  const channels = ["one", "two"].map((name) => ({ name, backend: new TestChannel() }));
  const device = new VirtioSerial({ name: "serial", memory: world.memory, channels });
  return {
    device,
    outside: (random) => {
      // A control message where chains begin.
      const id = random.below(4);
      const event = random.pick([0, 3, 3, 6, 6, random.below(9)]);
      const message = ConsoleControl.encode({
        id,
        event,
        value: random.pick([1, 1, 0, random.below(65536)]),
      });
      for (let i = 0; i < 64; i++) world.memory.write(BUFFERS + 16 * random.below(MiB / 32), message);
      for (const { backend } of channels) {
        if (backend.open) world.count("opened");
        backend.peer(random.below(4) !== 0);
        backend.setRoom(random.below(4) !== 0);
        const before = backend.pending;
        if (backend.hasPeer && before < 1000) backend.send("x".repeat(random.below(300)));
        if (backend.pending < before) world.count("input");
        world.count("output", backend.written);
        backend.output = "";
        backend.written = 0;
      }
    },
    quiet: () => {
      for (const { backend } of channels) {
        backend.peer(false);
        backend.setRoom(true);
      }
    },
    works: (driver) => {
      const control = (event: number) => {
        queueOf(driver, 3).run([ConsoleControl.encode({ id: 1, event, value: 1 })]);
      };
      for (let i = 0; i < 4; i++) queueOf(driver, 2).submit([64]);
      for (const event of [ConsoleEvent.DEVICE_READY, ConsoleEvent.PORT_READY, ConsoleEvent.PORT_OPEN]) {
        control(event);
      }
      const backend = channels[0]?.backend as TestChannel;
      backend.peer(true);
      backend.output = "";
      queueOf(driver, 5).run([Uint8Array.of(0x6f, 0x6b)]);
      assert.equal(backend.output, "ok");
      assert.equal(queueOf(driver, 2).collect().length, 4);
    },
  };
}

export function vsockSide(world: World): Side {
  const kernel = new TestKernel();
  const log = () => {};
  const device = new VirtioVsock({ name: "vsock", memory: world.memory, cid: 3, kernel, log });
  return {
    device,
    outside: (random) => {
      if (random.below(8) === 0) device.connectionsLost();
      if (device.kernelRuns) world.count("in the kernel");
      world.count("kicked", kernel.calls.filter((call) => call.startsWith("kick")).length);
      kernel.calls.length = 0;
    },
    quiet: () => {},
    works: (driver) => {
      assert.equal(device.kernelRuns, driver.queues.length === 3);
      assert.equal(kernel.rings?.length, 2);
    },
  };
}
