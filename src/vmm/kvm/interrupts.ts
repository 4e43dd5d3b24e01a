/** How devices raise interrupts through KVM: lines into PIC and IOAPIC, and MSI routes. */

import { createEventFd, signalEventFd } from "../../sys/eventfd.ts";
import { close } from "../../sys/fs.ts";
import type { InterruptLine, MsiController, MsiMessage, MsiRoute } from "../contract.ts";
import type { KvmVm } from "./kvm.ts";
import { RoutingTable } from "./routing.ts";

/** Inputs of the interrupt controllers. Several devices may share one: it is asserted while any of them asserts it. */
export class InterruptLines {
  readonly #vm: KvmVm;
  readonly #asserted: number[] = [];

  constructor(vm: KvmVm) {
    this.#vm = vm;
  }

  /** A line of one device to an input. */
  connect(gsi: number): InterruptLine {
    let mine = false;
    return {
      set: (asserted) => {
        if (asserted === mine) return;
        mine = asserted;
        const before = this.#asserted[gsi] ?? 0;
        const after = before + (asserted ? 1 : -1);
        this.#asserted[gsi] = after;
        if (before === 0 || after === 0) this.#vm.setIrqLine(gsi, asserted);
      },
    };
  }
}

/**
 * MSI through irqfds: each route has a GSI of its own in KVM's routing table and an eventfd that delivers it.
 *
 * While a route is masked its eventfd is detached from KVM, so a signal from the kernel (vhost) stays pending in the
 * eventfd's counter and is delivered when it is attached again.
 */
export class KvmMsiController implements MsiController {
  readonly #vm: KvmVm;
  readonly #table = new RoutingTable();

  constructor(vm: KvmVm) {
    this.#vm = vm;
    vm.setRouting(this.#table.bytes);
  }

  create(): MsiRoute {
    return new IrqfdRoute(this.#vm, this.#table);
  }
}

class IrqfdRoute implements MsiRoute {
  readonly eventFd: number;
  readonly #vm: KvmVm;
  readonly #table: RoutingTable;
  readonly #gsi: number;
  #attached = false;

  constructor(vm: KvmVm, table: RoutingTable) {
    this.#vm = vm;
    this.#table = table;
    this.#gsi = table.allocate();
    this.eventFd = createEventFd();
  }

  update(message: MsiMessage | null): void {
    // An entry stays in the table while its route is masked: nothing refers to it then.
    if (message !== null && this.#table.setMessage(this.#gsi, message))
      this.#vm.setRouting(this.#table.bytes);
    const attach = message !== null;
    if (attach === this.#attached) return;
    this.#vm.setIrqfd(this.#gsi, this.eventFd, attach);
    this.#attached = attach;
  }

  trigger(): void {
    if (this.#attached) signalEventFd(this.eventFd);
  }

  /** For tests of leaks: the process normally keeps its routes until it ends. */
  close(): void {
    this.update(null);
    close(this.eventFd);
  }
}
