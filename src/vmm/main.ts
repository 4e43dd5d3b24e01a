/**
 * `thimble vmm --config FILE`: runs one virtual machine in the foreground, and ends as VmmExit says.
 *
 * The process is the machine. A reset executes the program anew in the same process: every device and all memory start
 * as after power-on, and only the listening sockets are kept.
 */
import { messageOf, ThimbleError } from "../base/errors.ts";
import { SystemClock, threadCpuMs } from "../sys/clock.ts";
import {
  closeAllBut,
  commandLine,
  execute,
  forbidNewPrivileges,
  openOwnExecutable,
  setInherited,
} from "../sys/exec.ts";
import { readFile, tryUnlink } from "../sys/fs.ts";
import { trimHeapRegularly } from "../sys/heap.ts";
import { createLogger, limited } from "../sys/log.ts";
import { EventLoop } from "../sys/loop.ts";
import { exit, getpid } from "../sys/process.ts";
import { onUnhandledRejection } from "../sys/rejections.ts";
import { SIGHUP, SIGINT, SIGTERM, watchSignals } from "../sys/signals.ts";
import { utf8Decode } from "../sys/text.ts";
import { CharSocket } from "./backends/char-socket.ts";
import { CharStdio } from "./backends/char-stdio.ts";
import { DebugFile } from "./backends/debug-file.ts";
import { listenUnixSocket } from "./backends/unix-socket.ts";
import { forField } from "./boot-files.ts";
import { formatArguments, parseArguments, type SocketRole, type VmmArguments } from "./command-line.ts";
import { type VmmConfig, VmmExit } from "./config.ts";
import type { VmmEndCause } from "./control.ts";
import { ControlServer } from "./control-server.ts";
import { describeError } from "./cpu/exits.ts";
import { Machine, type MachineEnd } from "./machine.ts";
import { channelsPart, displayPart, forgetParts, imagesPart, startPart } from "./parts.ts";
import type { VncServer } from "./vnc/server.ts";

const log = createLogger("vmm");

const END_CAUSE = {
  "power-off": "guest-power-off",
  stopped: "stopped",
  "debug-exit": "guest-power-off",
  failed: "failed",
} as const satisfies Record<Exclude<MachineEnd["kind"], "reset">, VmmEndCause>;

/** Errors of this kind are the configuration's fault, not the VMM's. */
const CONFIG_ERRORS = ["usage", "bad_config"];
/** Lines that viewers may cause in the log. */
const VNC_COMPLAINTS_MAX = 50;

class Vmm {
  readonly #args: VmmArguments;
  readonly #config: VmmConfig;
  readonly #executable: number;
  readonly #loop = new EventLoop();
  readonly #listeners = new Map<SocketRole, { readonly fd: number; readonly path: string }>();
  readonly #serial: CharSocket | CharStdio;
  readonly #debugFile: DebugFile | null;
  readonly #control: ControlServer | null;
  readonly #machine: Machine;
  readonly #vnc: VncServer | null;

  constructor(args: VmmArguments, config: VmmConfig) {
    this.#args = args;
    this.#config = config;
    this.#executable = openOwnExecutable();
    const { serial, virtioConsole, controlSocket, debugConsole, graphics } = config;
    this.#debugFile =
      debugConsole === undefined
        ? null
        : forField("debugConsole", () => new DebugFile(debugConsole, args.resets > 0));
    const loop = this.#loop;
    const debugFile = this.#debugFile;
    // Threads inherit the blocked signals, so this comes before them.
    watchSignals(loop, [SIGTERM, SIGINT, SIGHUP], (signal) =>
      this.#machine.stop(`stopped by signal ${signal}`),
    );
    this.#serial =
      serial.kind === "socket"
        ? new CharSocket(loop, this.#listen("serial", serial.path))
        : new CharStdio(loop, () => this.#machine.stop("stopped from the terminal"));
    const console =
      virtioConsole === undefined ? null : new CharSocket(loop, this.#listen("console", virtioConsole.path));
    const channels = (config.channels ?? []).map(({ name, path }, i) => ({
      name,
      backend: new (channelsPart().ChannelSocket)(loop, this.#listen(`channel${i}`, path)),
    }));
    const graphicsFd = graphics === undefined ? -1 : this.#listen("graphics", graphics.path);
    const controlFd = controlSocket === undefined ? -1 : this.#listen("control", controlSocket);
    const clock = new SystemClock(loop);
    try {
      this.#machine = new Machine(config, {
        loop,
        clock,
        log,
        serial: this.#serial,
        console,
        channels,
        debugConsole: debugFile && ((byte) => debugFile.put(byte)),
        onPause: (reason) => {
          log.info(`${config.name}: ${reason ?? "goes on"}`);
          this.#control?.send({ event: "paused", reason });
        },
        onEnd: (end) => this.#end(end),
      });
    } catch (error) {
      this.#releaseSockets();
      throw error;
    }
    loop.onError = (error) => this.#machine.fail(`a device failed: ${describeError(error)}`);
    onUnhandledRejection((error) => this.#machine.fail(`a task failed: ${describeError(error)}`));
    const { display, input } = this.#machine;
    const complaints = limited((message) => log.warn(message), VNC_COMPLAINTS_MAX);
    this.#vnc =
      display === null || input === null
        ? null
        : new (displayPart().VncServer)(graphicsFd, {
            name: config.name,
            screen: display,
            sink: input,
            loop,
            clock,
            log: complaints,
          });
    this.#control = controlFd < 0 ? null : this.#serveControl(controlFd);
  }

  /** Runs until the machine's end, which also ends the process. */
  run(): never {
    this.#machine.start();
    const { name, cpus, memoryBytes } = this.#config;
    const used = threadCpuMs().toFixed(1);
    log.info(
      `${name}: running with ${cpus} CPUs and ${memoryBytes / 2 ** 20} MiB, after ${used} ms of CPU time`,
    );
    // What only the start needed gives its memory to what runs.
    forgetParts();
    trimHeapRegularly(this.#loop);
    exit(this.#loop.run());
  }

  #listen(role: SocketRole, path: string): number {
    const inherited = this.#args.inherited.get(role);
    const fd = inherited ?? listenUnixSocket(path);
    if (inherited !== undefined) setInherited(fd, false);
    this.#listeners.set(role, { fd, path });
    return fd;
  }

  #serveControl(fd: number): ControlServer {
    const machine = this.#machine;
    const typist = machine.input && new (displayPart().Typist)(machine.input, new SystemClock(this.#loop));
    return new ControlServer(this.#loop, fd, {
      status: () => ({
        state: machine.ending ? "stopping" : "running",
        pid: getpid(),
        resets: this.#args.resets,
        exits: machine.exits(),
        balloon: machine.balloon.status,
        paused: machine.pauseReason,
      }),
      powerButton: () => machine.pressPowerButton(),
      reset: () => machine.reset("on request"),
      stop: () => machine.stop("stopped on request"),
      pause: () => machine.pause("request", "paused on request"),
      resume: () => machine.resume("request"),
      sendKeys: (chords) => {
        if (typist === null) throw new ThimbleError("no_graphics", "The machine has no display.");
        typist.type(chords);
      },
      balloon: (targetBytes) => machine.balloon.setTarget(targetBytes),
      limitDisk: (index, limits) => machine.limitDisk(index, limits),
    });
  }

  #end(end: MachineEnd): never {
    try {
      this.#finish(end);
    } catch (error) {
      log.error(`${this.#config.name}: the end failed: ${describeError(error)}`);
      exit(VmmExit.Failed);
    }
  }

  #finish(end: MachineEnd): never {
    if (end.kind === "failed") log.error(`${this.#config.name}: ${end.message}`);
    else log.info(`${this.#config.name}: ${end.message}`);
    this.#machine.close();
    this.#vnc?.close();
    this.#debugFile?.close();
    if (end.kind === "reset") {
      this.#control?.send({ event: "reset" });
      this.#serial.close();
      this.#executeAnew();
    }
    this.#control?.send({ event: "end", cause: END_CAUSE[end.kind], message: end.message });
    this.#releaseSockets();
    exit(end.kind === "failed" ? VmmExit.Failed : (end.status ?? VmmExit.PowerOff));
  }

  /** Gives the terminal back, and removes the sockets. */
  #releaseSockets(): void {
    this.#serial.close();
    for (const { path } of this.#listeners.values()) tryUnlink(path);
  }

  #executeAnew(): never {
    const inherited = new Map<SocketRole, number>();
    for (const [role, { fd }] of this.#listeners) {
      setInherited(fd, true);
      inherited.set(role, fd);
    }
    const { configPath, resets } = this.#args;
    const program = commandLine()[0] as string;
    execute(this.#executable, formatArguments(program, { configPath, resets: resets + 1, inherited }));
  }
}

function start(): never {
  let vmm: Vmm;
  const [, , option, job] = commandLine();
  if (option === "--image-job" && job !== undefined) imagesPart().runImageJob(job);
  try {
    const args = parseArguments(commandLine());
    closeAllBut([...args.inherited.values()]);
    forbidNewPrivileges();
    const config = startPart().parseConfig(readConfig(args.configPath));
    vmm = new Vmm(args, config);
  } catch (error) {
    const isConfig = error instanceof ThimbleError && CONFIG_ERRORS.includes(error.code);
    log.error(error instanceof ThimbleError ? error.message : describeError(error));
    exit(isConfig ? VmmExit.BadConfig : VmmExit.Failed);
  }
  vmm.run();
}

function readConfig(path: string): string {
  try {
    return utf8Decode(readFile(path, startPart().CONFIG_SIZE_MAX));
  } catch (error) {
    throw new ThimbleError("bad_config", `--config: ${messageOf(error)}`, { cause: error });
  }
}

start();
