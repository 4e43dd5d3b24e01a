/** What the runtime's own doings cost, in nanoseconds each. Run by main.ts beside it. */
import { monotonicMs } from "../../src/sys/clock.ts";
import { writeAll } from "../../src/sys/fs.ts";
import { EventLoop } from "../../src/sys/loop.ts";
import { exit } from "../../src/sys/process.ts";
import { SYS } from "../../src/sys/syscall-numbers.ts";
import { utf8Encode } from "../../src/sys/text.ts";

const COUNT = 300_000;
const results: Record<string, number> = {};

function record(name: string, startMs: number, count: number): void {
  results[name] = Math.round(((monotonicMs() - startMs) * 1e6) / count);
}

function repeat(name: string, body: () => void): void {
  const startMs = monotonicMs();
  for (let i = 0; i < COUNT; i++) body();
  record(name, startMs, COUNT);
}

/** A thread that enters the runtime COUNT times; fd -1 makes its ioctl return at once. */
function thread(done: () => void): void {
  let count = 0;
  bridge.startIoctlThread(-1, 0, () => {
    if (++count < COUNT) return 0;
    done();
    return 1;
  });
}

function threads(loop: EventLoop, name: string, count: number): Promise<void> {
  return new Promise((resolve) => {
    let running = count;
    const startMs = monotonicMs();
    for (let i = 0; i < count; i++) {
      thread(() => {
        if (--running > 0) return;
        record(name, startMs, COUNT * count);
        loop.post(resolve);
      });
    }
  });
}

async function measure(loop: EventLoop): Promise<void> {
  repeat("loop iteration with an empty call", () => {});
  repeat("system call, lock kept", () => bridge.syscall(SYS.getpid));
  repeat("system call, lock given back", () => bridge.syscallBlocking(SYS.getpid));
  const words = new Uint32Array(1024);
  repeat("typed array read and write", () => {
    words[5] = (words[4] as number) + 1;
  });
  const view = new DataView(words.buffer);
  repeat("DataView read and write", () => view.setUint32(20, view.getUint32(16, true) + 1, true));
  await threads(loop, "entry from a thread: ioctl, lock, call, unlock", 1);
  await threads(loop, "the same, two threads contending", 2);
  const startMs = monotonicMs();
  let posted = 0;
  await new Promise<void>((resolve) => {
    const next = () => {
      if (++posted === 20_000) resolve();
      else loop.after(0, next);
    };
    next();
  });
  record("timer through epoll", startMs, 20_000);
}

const loop = new EventLoop();
loop.post(() => {
  void measure(loop).then(() => loop.stop());
});
const status = loop.run();
writeAll(1, utf8Encode(JSON.stringify(results)));
exit(status);
