/** Ways to end badly: native.test.ts runs each and looks at status and output. */
import { EventLoop } from "../loop.ts";

async function reject(): Promise<void> {
  await null;
  throw new Error("nobody listens", { cause: new TypeError("the reason") });
}

const loop = new EventLoop();
const way = bridge.args[2];
if (way === "throw") {
  throw new Error("at the top");
} else if (way === "callback") {
  loop.after(1, () => {
    throw new RangeError("in a callback");
  });
} else if (way === "rejection") {
  loop.post(() => void reject());
} else if (way === "handled-later") {
  loop.post(() => {
    const promise = reject();
    void (async () => {
      for (let i = 0; i < 5; i++) await null;
      await promise.catch(() => {});
      loop.stop(5);
    })();
  });
} else if (way === "thread") {
  bridge.startIoctlThread(0, 0, () => {
    throw new Error("on a thread");
  });
} else if (way === "status") {
  loop.post(() => loop.stop(3));
}
bridge.syscall(231, loop.run());
