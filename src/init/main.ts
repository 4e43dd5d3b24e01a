/**
 * PID 1: makes the kernel's interfaces available, keeps the host agent running, reaps what ends, and takes the host
 * down in order. It does as little as it can, for a failure here stops the host: network, storage and VMs are the agent's.
 */
import { messageOf } from "../base/errors.ts";
import { VERSION } from "../base/version.ts";
import { setWallMs, uptimeMs, wallMs } from "../sys/clock.ts";
import { makeDirectories, writeAll, writeFile } from "../sys/fs.ts";
import { createLogger, type Logger } from "../sys/log.ts";
import { EventLoop } from "../sys/loop.ts";
import { exit, reapAny } from "../sys/process.ts";
import { reboot, sync } from "../sys/reboot.ts";
import { onUnhandledRejection } from "../sys/rejections.ts";
import { SIGCHLD, SIGINT, SIGTERM, watchSignals } from "../sys/signals.ts";
import { utf8Encode } from "../sys/text.ts";
import { watchPowerButton } from "./acpi-events.ts";
import { buildTimeMs, correctedTime } from "./clock-sanity.ts";
import { serveControlSocket } from "./control-socket.ts";
import { mountAll } from "./mounts.ts";
import { panicScreen } from "./panic-screen.ts";
import { HostPower } from "./power.ts";
import { Supervisor } from "./supervisor.ts";

const RUN_PATH = "/run/thimble";
const PANIC_RESTART_SECONDS = 10;
/** The kernel restarts by itself, too, should it panic. */
const SYSCTLS = { "/proc/sys/kernel/panic": "10", "/proc/sys/kernel/panic_on_oops": "1" };

/** Says on the console why the host cannot go on, leaves it readable for a while, and restarts. */
function panic(error: unknown): never {
  writeAll(2, utf8Encode(panicScreen(VERSION, error, PANIC_RESTART_SECONDS)));
  sync();
  const loop = new EventLoop();
  loop.after(PANIC_RESTART_SECONDS * 1000, () => reboot("restart"));
  exit(loop.run());
}

function setClock(log: Logger): void {
  const corrected = correctedTime(wallMs(), buildTimeMs());
  if (corrected === null) return;
  setWallMs(corrected);
  log.warn("the hardware clock is before this image was built; the build time is used until it is set");
}

function setSysctls(log: Logger): void {
  for (const [path, value] of Object.entries(SYSCTLS)) {
    try {
      writeFile(path, value);
    } catch (error) {
      log.warn(messageOf(error));
    }
  }
}

function start(): EventLoop {
  mountAll();
  const log = createLogger("init");
  log.info(`Thimble ${VERSION}, ${Math.round(uptimeMs())} ms after the kernel started`);
  makeDirectories(RUN_PATH, 0o755);
  setClock(log);
  setSysctls(log);
  reboot("ctrlAltDelToInit");

  const loop = new EventLoop();
  loop.onError = panic;
  const agent = new Supervisor(loop, log, "host agent", ["/proc/self/exe", "agent"]);
  const power = new HostPower(loop, log, agent);
  watchSignals(loop, [SIGCHLD, SIGINT, SIGTERM], (signal) => {
    if (signal === SIGINT) power.request("restart", "Ctrl-Alt-Del");
    if (signal === SIGTERM) power.request("power-off", "SIGTERM");
    for (let ended = reapAny(); ended !== null; ended = reapAny()) agent.ended(ended.pid, ended.status);
  });
  try {
    watchPowerButton(loop, () => power.request("power-off", "power button"));
  } catch (error) {
    log.warn(`the power button does nothing: ${messageOf(error)}`);
  }
  serveControlSocket(loop, log, (action) => power.request(action, "requested through the API"));
  agent.start();
  return loop;
}

onUnhandledRejection(panic);
try {
  start().run();
} catch (error) {
  panic(error);
}
