/** A machine without CPUs for device tests: memory, buses, interrupt sinks and doorbells that a test reads. */
import type { GuestPhysical } from "../../../base/addresses.ts";
import { MiB } from "../../../base/addresses.ts";
import { MmioBus } from "../../bus/mmio.ts";
import { PciBus } from "../../bus/pci/bus.ts";
import type { Doorbell, DoorbellController, MsiController, MsiMessage, MsiRoute } from "../../contract.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { Mmio } from "../../platform.ts";
import type { VirtioDevice } from "../device.ts";
import { VirtioPci } from "../pci-transport.ts";

export class TestRoute implements MsiRoute {
  message: MsiMessage | null = null;
  delivered = 0;
  /** Triggered without a message: nobody gets it. */
  lost = 0;

  constructor(readonly eventFd: number) {}

  update(message: MsiMessage | null): void {
    this.message = message;
  }

  trigger(): void {
    if (this.message === null) this.lost++;
    else this.delivered++;
  }
}

export class TestDoorbell implements Doorbell {
  address: GuestPhysical | null = null;
  listening = true;

  constructor(
    readonly eventFd: number,
    readonly onRing: () => void,
  ) {}

  place(address: GuestPhysical | null): void {
    this.address = address;
  }

  setListening(listening: boolean): void {
    this.listening = listening;
  }
}

/** Everything between a device and the outside, under a test's control. */
export class TestMachine {
  readonly memory: GuestMemory;
  readonly mmio = new MmioBus();
  readonly pci = new PciBus({ window: Mmio.pciWindow, mmio: this.mmio });
  readonly routes: TestRoute[] = [];
  readonly doorbells: TestDoorbell[] = [];
  readonly log: string[] = [];
  lineAsserted = false;
  #deferred: (() => void)[] = [];

  constructor(memory: GuestMemory | number = 16 * MiB) {
    this.memory = typeof memory === "number" ? GuestMemory.forTest(memory) : memory;
  }

  readonly msi: MsiController = {
    create: () => {
      const route = new TestRoute(1000 + this.routes.length);
      this.routes.push(route);
      return route;
    },
  };

  readonly doorbellController: DoorbellController = {
    create: (_width, onRing) => {
      const doorbell = new TestDoorbell(2000 + this.doorbells.length, onRing);
      this.doorbells.push(doorbell);
      return doorbell;
    },
  };

  /** Puts a device into a slot of the PCI bus. */
  attach(device: VirtioDevice, slot = 1): VirtioPci {
    const transport = new VirtioPci({
      device,
      memory: this.memory,
      msi: this.msi,
      doorbells: this.doorbellController,
      line: {
        set: (asserted) => {
          this.lineAsserted = asserted;
        },
      },
      defer: (callback) => this.#deferred.push(callback),
      log: (message) => this.log.push(message),
    });
    this.pci.add(slot, transport.function);
    return transport;
  }

  /** Runs deferred work until none is left; throws when it does not end. */
  settle(roundsMax = 1000): void {
    for (let round = 0; this.#deferred.length > 0; round++) {
      if (round === roundsMax) throw new Error("deferred work does not end");
      const work = this.#deferred;
      this.#deferred = [];
      for (const callback of work) callback();
    }
  }

  /** A guest's write: a doorbell placed at the address takes it, otherwise the bus does. */
  write(address: number, size: number, value: number): void {
    const doorbell = this.doorbells.find((bell) => bell.address === address && size === 2);
    if (doorbell === undefined) this.mmio.write(address, size, value);
    else if (doorbell.listening) doorbell.onRing();
  }

  read(address: number, size: number): number {
    return this.mmio.read(address, size);
  }
}
