/**
 * Doorbells: guest writes that KVM turns into a signal on an eventfd (ioeventfd) without leaving to the vCPU's thread.
 * The main loop waits for the eventfd, or a kernel backend does (vhost).
 */

import type { GuestPhysical } from "../../base/addresses.ts";
import { createEventFd } from "../../sys/eventfd.ts";
import { EPOLLET, EPOLLIN, type EventLoop, type Watch } from "../../sys/loop.ts";
import type { Doorbell, DoorbellController } from "../contract.ts";
import type { KvmVm } from "./kvm.ts";

export class KvmDoorbellController implements DoorbellController {
  readonly #vm: KvmVm;
  readonly #loop: EventLoop;

  constructor(vm: KvmVm, loop: EventLoop) {
    this.#vm = vm;
    this.#loop = loop;
  }

  create(width: number, onRing: () => void): Doorbell {
    return new IoeventfdDoorbell(this.#vm, this.#loop, width, onRing);
  }
}

class IoeventfdDoorbell implements Doorbell {
  readonly eventFd = createEventFd();
  readonly #vm: KvmVm;
  readonly #width: number;
  readonly #watch: Watch;
  #address: GuestPhysical | null = null;

  constructor(vm: KvmVm, loop: EventLoop, width: number, onRing: () => void) {
    this.#vm = vm;
    this.#width = width;
    // Edge-triggered: every signal is reported, so the counter never needs to be read, which saves a system call a ring.
    this.#watch = loop.watch(this.eventFd, EPOLLIN | EPOLLET, onRing);
  }

  place(address: GuestPhysical | null): void {
    if (address === this.#address) return;
    if (this.#address !== null) this.#vm.setIoeventfd(this.#address, this.#width, this.eventFd, false);
    this.#address = null;
    if (address === null) return;
    // KVM refuses when another doorbell is there (BARs laid over each other): then the write reaches the device's
    // registers, as every write does that nobody takes.
    if (this.#vm.setIoeventfd(address, this.#width, this.eventFd, true)) this.#address = address;
  }

  setListening(listening: boolean): void {
    // Listening again reports at once what was signalled meanwhile.
    this.#watch.setEvents(listening ? EPOLLIN | EPOLLET : 0);
  }
}
