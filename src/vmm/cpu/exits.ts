/**
 * What happens when a vCPU leaves the guest: the exit is read from its kvm_run page, carried out on the buses, and the
 * answer is put where KVM_RUN will look for it.
 *
 * The handler runs on the vCPU's own thread for every exit, so it allocates nothing and keeps what it needs in locals
 * of one closure. It only sees a buffer laid out like struct kvm_run, so tests can drive it without KVM.
 */
import { messageOf } from "../../base/errors.ts";
import { EAGAIN, EINTR, errnoName } from "../../sys/errno.ts";
import type { MmioBus } from "../bus/mmio.ts";
import type { PioBus } from "../bus/pio.ts";
import { EXIT_IO_OUT, EXIT_REASONS, Exit, InternalError, Run, SystemEvent } from "../kvm/bits.ts";

/** Where an exit that concerns the whole machine goes. Each may be called on any vCPU's thread. */
export interface MachineControl {
  /** True as soon as the machine is being reset or ended: vCPU threads leave at their next exit. */
  readonly ending: boolean;
  /** Ending, or paused. */
  readonly halted: boolean;
  /** Waits while the machine is paused and not ending. */
  park(): void;
  reset(cause: string): void;
  powerOff(): void;
  fail(message: string): void;
  /** A vCPU has been told to end its thread: it enters the guest no more. */
  vcpuLeft(): void;
}

export interface ExitHandler {
  /** Takes the result of KVM_RUN. Returns 0 to enter the guest again, 1 to end the thread. */
  readonly handle: (result: number) => number;
  /** How many exits there were, by KVM_EXIT_* reason. */
  readonly counts: Float64Array;
}

const CONTINUE = 0;
const LEAVE = 1;

// Indices of the fields that every exit reads, worked out once: the engine does not.
const { ioDirection: IO_DIRECTION, ioSize: IO_SIZE } = Run;
const { io: EXIT_IO, mmio: EXIT_MMIO } = Exit;
const EXIT_REASON = Run.exitReason >> 2;
const IO_PORT = Run.ioPort >> 1;
const IO_COUNT = Run.ioCount >> 2;
const IO_DATA_OFFSET = Run.ioDataOffset >> 2;
const MMIO_LOW = Run.mmioAddressLow >> 2;
const MMIO_HIGH = Run.mmioAddressHigh >> 2;
const MMIO_DATA = Run.mmioData >> 2;
const MMIO_LENGTH = Run.mmioLength >> 2;
const MMIO_IS_WRITE = Run.mmioIsWrite;

/**
 * Makes the handler of one vCPU. `run` is its kvm_run area with the pages behind it that KVM maps there; `registers`
 * describes the vCPU for a failure report.
 */
export function createExitHandler(
  run: ArrayBuffer,
  pio: PioBus,
  mmio: MmioBus,
  machine: MachineControl,
  registers: () => string,
): ExitHandler {
  const bytes = new Uint8Array(run);
  const words = new Uint16Array(run);
  const dwords = new Uint32Array(run);
  const counts = new Float64Array(EXIT_REASONS);

  function portAccess(): void {
    const size = bytes[IO_SIZE] as number;
    const port = words[IO_PORT] as number;
    const out = bytes[IO_DIRECTION] === EXIT_IO_OUT;
    // More than one for string instructions (REP OUTSB): the same port, `count` times.
    let count = dwords[IO_COUNT] as number;
    for (let at = dwords[IO_DATA_OFFSET] as number; count > 0; count--, at += size) {
      if (out) {
        if (size === 1) pio.write(port, 1, bytes[at] as number);
        else if (size === 2) pio.write(port, 2, words[at >> 1] as number);
        else pio.write(port, 4, dwords[at >> 2] as number);
      } else if (size === 1) bytes[at] = pio.read(port, 1);
      else if (size === 2) words[at >> 1] = pio.read(port, 2);
      else dwords[at >> 2] = pio.read(port, 4);
    }
  }

  function memoryAccess(): void {
    const high = dwords[MMIO_HIGH] as number;
    let address = dwords[MMIO_LOW] as number;
    // Floating-point arithmetic only where it is needed: it costs the engine as much as a call.
    if (high !== 0) address += high * 0x1_0000_0000;
    const length = dwords[MMIO_LENGTH] as number;
    const write = bytes[MMIO_IS_WRITE] !== 0;
    if (length === 4) {
      if (write) mmio.write(address, 4, dwords[MMIO_DATA] as number);
      else dwords[MMIO_DATA] = mmio.read(address, 4);
    } else if (length === 2) {
      if (write) mmio.write(address, 2, words[Run.mmioData >> 1] as number);
      else words[Run.mmioData >> 1] = mmio.read(address, 2);
    } else if (length === 8) {
      const low = MMIO_DATA;
      if (write) {
        mmio.write(address, 4, dwords[low] as number);
        mmio.write(address + 4, 4, dwords[low + 1] as number);
      } else {
        dwords[low] = mmio.read(address, 4);
        dwords[low + 1] = mmio.read(address + 4, 4);
      }
    } else {
      // One byte, or a piece of an access that crossed a page: KVM hands those out in odd lengths.
      for (let i = 0; i < length; i++) {
        const at = Run.mmioData + i;
        if (write) mmio.write(address + i, 1, bytes[at] as number);
        else bytes[at] = mmio.read(address + i, 1);
      }
    }
  }

  function rareExit(reason: number): void {
    if (reason === Exit.intr || reason === Exit.hlt || reason === Exit.irqWindowOpen) return;
    if (reason === Exit.shutdown) {
      machine.reset("triple fault");
    } else if (reason === Exit.systemEvent) {
      const type = dwords[Run.systemEventType >> 2];
      if (type === SystemEvent.shutdown) machine.powerOff();
      else machine.reset(type === SystemEvent.reset ? "system event" : `system event ${type}`);
    } else {
      machine.fail(`${describeFailure(bytes, dwords, reason)}\n${registers()}`);
    }
  }

  function leave(): number {
    machine.vcpuLeft();
    return LEAVE;
  }

  function handle(result: number): number {
    if (machine.halted) {
      machine.park();
      if (machine.ending) return leave();
    }
    if (result < 0) {
      if (result === -EINTR || result === -EAGAIN) {
        (counts[Exit.intr] as number)++;
        return CONTINUE;
      }
      machine.fail(`KVM_RUN failed (${errnoName(-result)})\n${registers()}`);
      return leave();
    }
    const reason = dwords[EXIT_REASON] as number;
    (counts[reason < EXIT_REASONS ? reason : EXIT_REASONS - 1] as number)++;
    try {
      if (reason === EXIT_MMIO) memoryAccess();
      else if (reason === EXIT_IO) portAccess();
      else rareExit(reason);
    } catch (error) {
      machine.fail(`a device failed at an exit: ${describeError(error)}`);
    }
    return machine.ending ? leave() : CONTINUE;
  }

  return { handle, counts };
}

/** Message and stack of anything thrown. */
export function describeError(error: unknown): string {
  const stack = error instanceof Error ? error.stack : undefined;
  return stack === undefined || stack === "" ? messageOf(error) : `${messageOf(error)}\n${stack.trimEnd()}`;
}

/** Says what an exit means that no guest should cause. */
function describeFailure(bytes: Uint8Array, dwords: Uint32Array, reason: number): string {
  if (reason === Exit.failEntry) {
    return `the processor refused to enter the guest: hardware reason 0x${hex64(dwords, Run.hardwareReasonLow)}`;
  }
  if (reason === Exit.unknown) {
    return `the guest was left for a reason KVM does not know: hardware reason 0x${hex64(dwords, Run.hardwareReasonLow)}`;
  }
  if (reason !== Exit.internalError) return `exit ${reason} is not handled`;
  const suberror = dwords[Run.internalSuberror >> 2] as number;
  const dataCount = Math.min(dwords[Run.internalDataCount >> 2] as number, 16);
  if (suberror === InternalError.emulation) {
    let text = "KVM could not emulate an instruction";
    const hasInstruction = dataCount >= 3 && ((bytes[Run.emulationFlags] as number) & 1) !== 0;
    const size = hasInstruction ? Math.min(bytes[Run.emulationInstructionSize] as number, 15) : 0;
    if (size > 0) text += ":";
    for (let i = 0; i < size; i++) {
      text += ` ${(bytes[Run.emulationInstruction + i] as number).toString(16).padStart(2, "0")}`;
    }
    return text;
  }
  let text = `KVM reported internal error ${suberror}`;
  for (let i = 0; i < dataCount; i++) text += ` 0x${hex64(dwords, Run.internalData + 8 * i)}`;
  return text;
}

function hex64(dwords: Uint32Array, at: number): string {
  const high = dwords[(at >> 2) + 1] as number;
  const low = dwords[at >> 2] as number;
  return high === 0 ? low.toString(16) : high.toString(16) + low.toString(16).padStart(8, "0");
}
