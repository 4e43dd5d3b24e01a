/** The platform in the image: the kernel through src/sys. */
import { monotonicMs, uptimeMs, wallMs } from "../../sys/clock.ts";
import {
  close,
  ftruncate,
  makeDirectories,
  O_APPEND,
  O_CREAT,
  O_WRONLY,
  open,
  pread,
  readDirectory,
  readText,
  removeTree,
  rename,
  replaceFile,
  tryStat,
  tryUnlink,
  writeAll,
} from "../../sys/fs.ts";
import { connectUnix, listenTcp } from "../../sys/listener.ts";
import { createLogger } from "../../sys/log.ts";
import { EPOLLIN, type EventLoop } from "../../sys/loop.ts";
import { statfs } from "../../sys/mount.ts";
import { exitOf, killPidfd, openPidfd, spawn } from "../../sys/process.ts";
import { randomHex } from "../../sys/random.ts";
import type { ManagedProcess, Platform, ProcessEnd } from "./platform.ts";

export function linuxPlatform(loop: EventLoop): Platform {
  return {
    files: {
      readText,
      replaceFile,
      makeDirectories,
      readDirectory,
      tryStat,
      removeTree,
      rename,
      tryUnlink,
      open,
      close,
      pread,
      writeAll,
      ftruncate,
      freeBytes: (path) => statfs(path).availableBytes,
    },
    log: createLogger("agent"),
    monotonicMs,
    wallMs,
    uptimeMs,
    after: (delayMs, callback) => loop.after(delayMs, callback),
    randomHex,
    listenTcp: async (address, port, onConnection) => listenTcp(loop, address, port, onConnection),
    connectUnix: (path) => connectUnix(loop, path),
    spawn: (argv, logPath) => spawnLogged(loop, argv, logPath),
    adopt: (pid) => adopt(loop, pid),
  };
}

function spawnLogged(loop: EventLoop, argv: readonly string[], logPath: string): ManagedProcess {
  const log = open(logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600);
  try {
    const child = spawn({ path: argv[0] as string, argv, stdout: log, stderr: log });
    const ended = exitOf(loop, child);
    return managed(child.pid, child.pidfd, ended);
  } finally {
    close(log);
  }
}

function adopt(loop: EventLoop, pid: number): ManagedProcess | null {
  const pidfd = openPidfd(pid);
  if (pidfd === null) return null;
  const ended = new Promise<ProcessEnd>((resolve) => {
    const watch = loop.watch(pidfd, EPOLLIN, () => {
      watch.close();
      close(pidfd);
      resolve({ unknown: true }); // only a parent learns the status
    });
  });
  return managed(pid, pidfd, ended);
}

/** `pidfd` is closed by whoever resolves `ended`; it must not be used from then on. */
function managed(pid: number, pidfd: number, ended: Promise<ProcessEnd>): ManagedProcess {
  let running = true;
  void ended.then(() => {
    running = false;
  });
  return { pid, ended, kill: (signal) => running && killPidfd(pidfd, signal) };
}
