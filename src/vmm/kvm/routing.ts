/**
 * The table that tells KVM where an interrupt goes (KVM_SET_GSI_ROUTING): the inputs of its own PIC and IOAPIC, which
 * never change, and the messages of MSI routes, which the guest programs. KVM takes the table only as a whole, so it
 * is kept here in one piece, in the form the ioctl wants.
 */
import { ThimbleError } from "../../base/errors.ts";
import type { MsiMessage } from "../contract.ts";
import { Gsi } from "../platform.ts";
import {
  IrqRoutingEntry,
  IrqRoutingHeader,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
} from "./bits.ts";

const PIC_INPUTS = 16;
const PIC_INPUTS_EACH = 8;
/** The PIC's cascade input: no line of its own. */
const PIC_CASCADE = 2;
/** GSIs above the IOAPIC's inputs are free for messages. */
const FIRST_MSI_GSI = Gsi.ioapicInputs;
/** 16 devices with the most vectors a device here has (32) and some room; KVM itself allows 4,096 entries. */
export const MAX_MSI_ROUTES = 1024;

export class RoutingTable {
  #table: Uint8Array<ArrayBuffer>;
  #words: Uint32Array<ArrayBuffer>;
  #count = 0;
  /** By GSI - FIRST_MSI_GSI: index of the entry in the table, or -1 while it has none. */
  readonly #indexOf: number[] = [];

  constructor() {
    this.#table = new Uint8Array(IrqRoutingHeader.size + 64 * IrqRoutingEntry.size);
    this.#words = new Uint32Array(this.#table.buffer);
    for (let pin = 0; pin < PIC_INPUTS; pin++) {
      if (pin === PIC_CASCADE) continue;
      const master = pin < PIC_INPUTS_EACH;
      this.#append(
        pin,
        KVM_IRQ_ROUTING_IRQCHIP,
        master ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
        pin % PIC_INPUTS_EACH,
      );
    }
    for (let input = 0; input < Gsi.ioapicInputs; input++) {
      // IRQ 0, the interval timer, is wired to input 2; no line is wired to input 0.
      if (input === Gsi.timer) continue;
      this.#append(input, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, input === 0 ? Gsi.timer : input);
    }
  }

  /** How many entries there are. */
  get count(): number {
    return this.#count;
  }

  /** struct kvm_irq_routing, for the ioctl. Valid until the next change. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#words[IrqRoutingHeader.offset.nr >> 2] = this.#count;
    return this.#table.subarray(0, IrqRoutingHeader.size + this.#count * IrqRoutingEntry.size);
  }

  /** Reserves a GSI for a message. It has no entry until `setMessage`. */
  allocate(): number {
    if (this.#indexOf.length === MAX_MSI_ROUTES) {
      throw new ThimbleError(
        "too_many_msi_routes",
        `the machine's devices want more than ${MAX_MSI_ROUTES} MSI vectors`,
      );
    }
    return FIRST_MSI_GSI + this.#indexOf.push(-1) - 1;
  }

  /** Sets the message a GSI delivers. Returns whether the table changed. */
  setMessage(gsi: number, message: MsiMessage): boolean {
    const low = message.address >>> 0;
    const high = Math.floor(message.address / 0x1_0000_0000) >>> 0;
    const data = message.data >>> 0;
    const index = this.#indexOf[gsi - FIRST_MSI_GSI] as number;
    if (index < 0) {
      this.#indexOf[gsi - FIRST_MSI_GSI] = this.#count;
      this.#append(gsi, KVM_IRQ_ROUTING_MSI, low, high, data);
      return true;
    }
    const at = this.#wordOf(index);
    const words = this.#words;
    const { addressLo, addressHi, data: dataAt } = IrqRoutingEntry.offset;
    if (
      words[at + (addressLo >> 2)] === low &&
      words[at + (addressHi >> 2)] === high &&
      words[at + (dataAt >> 2)] === data
    ) {
      return false;
    }
    words[at + (addressLo >> 2)] = low;
    words[at + (addressHi >> 2)] = high;
    words[at + (dataAt >> 2)] = data;
    return true;
  }

  #wordOf(index: number): number {
    return (IrqRoutingHeader.size + index * IrqRoutingEntry.size) >> 2;
  }

  #append(gsi: number, type: number, addressLo: number, addressHi: number, data = 0): void {
    const at = IrqRoutingHeader.size + this.#count * IrqRoutingEntry.size;
    if (at === this.#table.length) {
      const grown = new Uint8Array(IrqRoutingHeader.size + 2 * this.#count * IrqRoutingEntry.size);
      grown.set(this.#table);
      this.#table = grown;
      this.#words = new Uint32Array(grown.buffer);
    }
    IrqRoutingEntry.patch(this.#table, at, { gsi, type, addressLo, addressHi, data });
    this.#count++;
  }
}
