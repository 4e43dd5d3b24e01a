/** The platform on Node, for running the whole agent under the unit-test runner. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { uptime } from "node:os";
import { SystemError } from "../../sys/errno.ts";
import type { Connection, Files, ManagedProcess, Platform, ProcessEnd } from "../platform/platform.ts";

/** Node's sockets push; a connection is pulled from. Paused until somebody reads. */
class NodeConnection implements Connection {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #error: Error | null = null;
  #wake: () => void = () => {};
  readonly remote: string;

  constructor(readonly socket: Socket) {
    this.remote = socket.remoteAddress ?? "local";
    socket.setNoDelay(true);
    socket.pause();
    socket.on("data", (bytes) => {
      this.#chunks.push(new Uint8Array(bytes));
      socket.pause();
      this.#wake();
    });
    socket.on("end", () => this.#end(null));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(null));
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) return chunk;
      if (this.#error !== null) throw this.#error;
      if (this.#ended) return null;
      this.socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  write(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) reject(new Error("the connection was closed"));
      else this.socket.write(data, (error) => (error ? reject(error) : resolve()));
    });
  }

  end(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
    this.#end(null);
  }

  #end(error: Error | null): void {
    this.#error ??= error;
    this.#ended = true;
    this.#wake();
  }
}

/** Errors as src/sys throws them. */
function wrapped<A extends unknown[], R>(call: string, body: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    try {
      return body(...args);
    } catch (error) {
      const errno = (error as { errno?: number }).errno;
      if (errno === undefined) throw error;
      throw new SystemError(-errno, call, String(args[0]));
    }
  };
}

export function nodeFiles(): Files {
  return {
    readText: wrapped("read", (path) => fs.readFileSync(path, "utf8")),
    replaceFile: wrapped("write", (path, content, mode = 0o644) => {
      fs.writeFileSync(`${path}.new`, content, { mode });
      fs.renameSync(`${path}.new`, path);
    }),
    makeDirectories: wrapped("mkdir", (path) => {
      fs.mkdirSync(path, { recursive: true });
    }),
    readDirectory: wrapped("getdents64", (path) =>
      fs
        .readdirSync(path)
        .sort()
        .map((name) => ({ name })),
    ),
    tryStat: wrapped("stat", (path) => {
      const stat = fs.statSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return null;
      return {
        kind: stat.isFile() ? "file" : stat.isDirectory() ? "directory" : "other",
        sizeBytes: stat.size,
        allocatedBytes: stat.blocks * 512,
        createdMs: stat.birthtimeMs,
      };
    }),
    removeTree: wrapped("unlink", (path) => fs.rmSync(path, { recursive: true })),
    rename: wrapped("rename", (from, to) => fs.renameSync(from, to)),
    tryUnlink: wrapped("unlink", (path) => {
      const there = fs.existsSync(path);
      fs.rmSync(path, { force: true });
      return there;
    }),
    open: wrapped("open", (path, flags, mode = 0o644) => fs.openSync(path, flags, mode)),
    close: (fd) => fs.closeSync(fd),
    pread: wrapped("pread", (fd, target, offset) => fs.readSync(fd, target, 0, target.length, offset)),
    writeAll: wrapped("write", (fd, source) => {
      for (let done = 0; done < source.length; ) done += fs.writeSync(fd, source, done);
    }),
    ftruncate: wrapped("ftruncate", (fd, sizeBytes) => fs.ftruncateSync(fd, sizeBytes)),
    freeBytes: wrapped("statfs", (path) => {
      const { bavail, bsize } = fs.statfsSync(path);
      return bavail * bsize;
    }),
  };
}

/** `lines` collects the log. */
export function nodePlatform(lines: string[] = []): Platform {
  const log = (level: string) => (text: string) => void lines.push(`${level}: ${text}`);
  return {
    files: nodeFiles(),
    log: { error: log("error"), warn: log("warn"), info: log("info"), debug: log("debug") },
    monotonicMs: () => performance.now(),
    wallMs: () => Date.now(),
    uptimeMs: () => uptime() * 1000,
    after(delayMs, callback) {
      const timer = setTimeout(callback, delayMs);
      return () => clearTimeout(timer);
    },
    randomHex: (count) => randomBytes(count).toString("hex"),
    listenTcp(address, port, onConnection) {
      return new Promise((resolve, reject) => {
        const server = createServer({ allowHalfOpen: true }, (socket) =>
          onConnection(new NodeConnection(socket)),
        );
        server.once("error", reject);
        server.listen(port, address, () => {
          resolve({ port: (server.address() as { port: number }).port, close: () => server.close() });
        });
      });
    },
    connectUnix: (path) =>
      new Promise((resolve, reject) => {
        const socket = connect(path);
        socket.once("connect", () => resolve(new NodeConnection(socket)));
        socket.once("error", reject);
      }),
    spawn: spawnLogged,
    adopt,
  };
}

function spawnLogged(argv: readonly string[], logPath: string): ManagedProcess {
  const log = fs.openSync(logPath, "a");
  const [program, ...args] = argv as [string, ...string[]];
  const child = spawn(program, args, { stdio: ["ignore", log, log] });
  fs.closeSync(log);
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(signal === null ? { exitCode: code ?? 0 } : { signal: signal === "SIGKILL" ? 9 : 15 });
    });
  });
  if (child.pid === undefined) throw new SystemError(2, "execve", program);
  return { pid: child.pid, ended, kill: (signal) => child.kill(signal) };
}

/** Whether a process runs, not counting one that has ended and that its parent has not taken note of. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function adopt(pid: number): ManagedProcess | null {
  if (!isAlive(pid)) return null;
  const ended = new Promise<ProcessEnd>((resolve) => {
    const timer = setInterval(() => {
      if (isAlive(pid)) return;
      clearInterval(timer);
      resolve({ unknown: true });
    }, 10);
  });
  return { pid, ended, kill: (signal) => isAlive(pid) && process.kill(pid, signal) };
}
