/** Threads that run handlers, with the kernel's KVM where there is one. */

import { struct, u16, u32, u64 } from "../../base/layout.ts";
import { monotonicMs } from "../clock.ts";
import { EBADF, EINTR } from "../errno.ts";
import { close, O_RDWR, tryOpen } from "../fs.ts";
import { io, ioctl, iow } from "../ioctl.ts";
import { createMemoryFile, mapShared } from "../memory.ts";
import { getpid } from "../process.ts";
import { SIGUSR1 } from "../signals.ts";
import { SYS } from "../syscall-numbers.ts";
import { equal, ok, print, runTests, test } from "./harness.ts";

test("a handler sees the ioctl's error and ends its thread", async (loop) => {
  const seen: number[] = [];
  await new Promise<void>((resolve) => {
    const thread = bridge.startIoctlThread(-1, 0, (result) => {
      seen.push(result);
      if (seen.length < 3) return 0;
      seen.push(bridge.syscall(SYS.gettid) === thread ? 1 : 0);
      loop.post(resolve); // wakes the main thread from its wait
      return 1;
    });
    ok(thread > 0 && thread !== getpid(), `thread ${thread}`);
  });
  equal(seen, [-EBADF, -EBADF, -EBADF, 1]);
});

test("timers, promises and blocking calls work from a thread", async (loop) => {
  const done: string[] = [];
  await new Promise<void>((resolve) => {
    // While the handler is in its blocking call, the main thread may run the timer and the job: any order is right.
    const note = (what: string) => {
      done.push(what);
      if (done.length === 3) loop.post(resolve);
    };
    let calls = 0;
    bridge.startIoctlThread(-1, 0, () => {
      calls++;
      if (calls > 1) return 1;
      loop.after(5, () => note("timer"));
      Promise.resolve().then(() => note("job"));
      bridge.syscallBlocking(SYS.nanosleep, new Uint32Array([0, 0, 1_000_000, 0]), null);
      note("handler");
      return 0;
    });
  });
  equal(done.sort(), ["handler", "job", "timer"]);
});

test("four threads that block inside handlers keep their own call stacks", async (loop) => {
  const THREADS = 4;
  const ROUNDS = 50;
  const failures: string[] = [];
  let running = THREADS;
  await new Promise<void>((resolve) => {
    for (let t = 0; t < THREADS; t++) {
      let round = 0;
      const nested = (depth: number): string => {
        if (depth > 0) return nested(depth - 1);
        bridge.syscallBlocking(SYS.nanosleep, new Uint32Array([0, 0, 50_000 * (t + 1), 0]), null);
        return new Error("where am I").stack ?? "";
      };
      bridge.startIoctlThread(-1, 0, () => {
        // The handler and eleven calls of `nested`, whatever the release build calls them; nobody else's frames.
        const frames = nested(10).trimEnd().split("\n").length;
        if (frames !== 12) failures.push(`thread ${t} round ${round}: ${frames} frames`);
        if (++round < ROUNDS) return 0;
        if (--running === 0) loop.post(resolve);
        return 1;
      });
    }
  });
  equal(failures, []);
});

test("recursion on a thread ends in an exception, not in a crash", async (loop) => {
  let caught = "";
  let depth = 0;
  await new Promise<void>((resolve) => {
    const deeper = (): number => {
      depth++;
      return deeper() + 1;
    };
    bridge.startIoctlThread(-1, 0, () => {
      try {
        deeper();
      } catch (error) {
        caught = (error as Error).name;
      }
      loop.post(resolve);
      return 1;
    });
  });
  equal(caught, "InternalError");
  ok(depth > 100, `only ${depth} calls deep`);
});

const KVM = 0xae;
const KVM_CREATE_VM = io(KVM, 0x01);
const KVM_GET_VCPU_MMAP_SIZE = io(KVM, 0x04);
const KVM_CREATE_VCPU = io(KVM, 0x41);
const KVM_SET_USER_MEMORY_REGION = iow(KVM, 0x46, 32);
const KVM_RUN = io(KVM, 0x80);
const KVM_GET_REGS_SIZE = 18 * 8;
const KVM_SET_REGS = iow(KVM, 0x82, KVM_GET_REGS_SIZE);
const KVM_SREGS_SIZE = 312;
const KVM_GET_SREGS = 0x8138ae83;
const KVM_SET_SREGS = iow(KVM, 0x84, KVM_SREGS_SIZE);
/** struct kvm_segment, of which cs is the first in struct kvm_sregs. */
const CodeSegment = struct("kvm_segment", "arch/x86/include/uapi/asm/kvm.h", {
  base: u64,
  limit: u32,
  selector: u16,
});
const KVM_EXIT_IO = 2;
const KVM_EXIT_HLT = 5;
const WRITES = 2000;

/** A real-mode program: CX times `out 0x10, al; inc al`, then `hlt`, then a loop on itself. */
const PROGRAM = Uint8Array.of(0xe6, 0x10, 0xfe, 0xc0, 0xe2, 0xfa, 0xf4, 0xeb, 0xfe);

test("KVM: a real-mode program's port writes arrive on the vCPU's thread", async (loop) => {
  const kvm = tryOpen("/dev/kvm", O_RDWR);
  if (kvm < 0) {
    print("# this machine has no usable /dev/kvm");
    return;
  }
  const vm = ioctl(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  const memoryFile = createMemoryFile("guest", 65536);
  const memory = mapShared(memoryFile, 0, 65536);
  new Uint8Array(memory.view()).set(PROGRAM, 0x1000);
  const region = new BigUint64Array([0n, 0n, 65536n, BigInt(memory.address)]);
  ioctl(vm, KVM_SET_USER_MEMORY_REGION, region, "KVM_SET_USER_MEMORY_REGION");
  const vcpu = ioctl(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
  const runMapping = mapShared(vcpu, 0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE"));
  const sregs = new Uint8Array(KVM_SREGS_SIZE);
  ioctl(vcpu, KVM_GET_SREGS, sregs, "KVM_GET_SREGS");
  CodeSegment.patch(sregs, 0, { base: 0, selector: 0 });
  ioctl(vcpu, KVM_SET_SREGS, sregs, "KVM_SET_SREGS");
  const regs = new BigUint64Array(18);
  regs[2] = BigInt(WRITES); // rcx
  regs[16] = 0x1000n; // rip
  regs[17] = 2n; // rflags: the bit that is always one
  ioctl(vcpu, KVM_SET_REGS, regs, "KVM_SET_REGS");

  const run = new Uint8Array(runMapping.view());
  const run32 = new Uint32Array(runMapping.view());
  let writes = 0;
  let wrong = 0;
  let interrupted = 0;
  let startMs = 0;
  let tookMs = 0;
  await new Promise<void>((resolve) => {
    const thread = bridge.startIoctlThread(vcpu, KVM_RUN, (result) => {
      if (result === -EINTR) {
        interrupted++;
        loop.post(resolve);
        return 1;
      }
      const reason = run32[2] as number; // exit_reason
      if (reason === KVM_EXIT_IO) {
        if (writes === 0) startMs = monotonicMs();
        const data = run[run32[10] as number]; // io.data_offset, low word
        const port = (run[34] as number) | ((run[35] as number) << 8);
        if (port !== 0x10 || data !== (writes & 0xff)) wrong++;
        writes++;
        return 0;
      }
      if (reason === KVM_EXIT_HLT) {
        tookMs = monotonicMs() - startMs;
        // The guest goes on to its endless loop, out of which the main thread interrupts it.
        loop.post(() => {
          loop.after(20, () => {
            run[1] = 1; // immediate_exit
            bridge.syscall(SYS.tgkill, getpid(), thread, SIGUSR1);
          });
        });
        return 0;
      }
      wrong += 1000 + reason;
      loop.post(resolve);
      return 1;
    });
  });
  equal([writes, wrong, interrupted], [WRITES, 0, 1]);
  print(`# one port write, handled in TypeScript: ${((tookMs * 1000) / WRITES).toFixed(1)} us`);
  runMapping.unmap();
  memory.unmap();
  for (const fd of [vcpu, vm, kvm, memoryFile]) close(fd);
});

runTests();
