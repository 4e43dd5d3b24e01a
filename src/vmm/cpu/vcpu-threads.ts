/** The threads of a machine's vCPUs: started together, and taken out of the guest together. */
import { interruptThread } from "../../sys/process.ts";
import { startIoctlThread } from "../../sys/vcpu-thread.ts";
import { KvmRequest } from "../kvm/bits.ts";
import type { KvmVcpu } from "../kvm/vcpu.ts";
import type { ExitHandler } from "./exits.ts";

/** A vCPU and what handles its exits. */
export interface RunnableVcpu {
  readonly vcpu: KvmVcpu;
  readonly exits: ExitHandler;
}

export class VcpuThreads {
  readonly #vcpus: readonly RunnableVcpu[];
  readonly #threadIds: number[] = [];
  #running = 0;
  #onAllLeft: (() => void) | null = null;

  constructor(vcpus: readonly RunnableVcpu[]) {
    this.#vcpus = vcpus;
  }

  /** Starts one thread a vCPU; each enters the guest at once. */
  start(): void {
    for (const { vcpu, exits } of this.#vcpus) {
      this.#running++;
      this.#threadIds.push(startIoctlThread(vcpu.fd, KvmRequest.run, exits.handle));
    }
  }

  /** To be called by the exit handlers, once for each thread that ends. */
  left(): void {
    this.#running--;
    if (this.#running === 0) this.#onAllLeft?.();
  }

  /**
   * Takes all vCPUs out of the guest; their handlers must by now end the threads. Calls back when the last has left,
   * on its thread or at once.
   */
  stop(onAllLeft: () => void): void {
    if (this.#running === 0) {
      onAllLeft();
      return;
    }
    this.#onAllLeft = onAllLeft;
    this.interrupt();
  }

  /** Takes all vCPUs out of the guest, to where their handlers see what is wanted of them. */
  interrupt(): void {
    for (const { vcpu } of this.#vcpus) vcpu.requestExit();
    for (const id of this.#threadIds) interruptThread(id);
  }

  /** Lets them in again. */
  resume(): void {
    for (const { vcpu } of this.#vcpus) vcpu.allowEntry();
  }

  /** Exits of all vCPUs so far. */
  exits(): number {
    let total = 0;
    for (const { exits } of this.#vcpus) for (const count of exits.counts) total += count;
    return total;
  }
}
