/**
 * The simulated server: a QEMU machine with flash and one NIC and nothing else, as a rack would hold it.
 *
 * QEMU's standard input and output are the first serial port. What comes from it goes to a log file and to
 * `console`, a feed that others wait on. QMP runs on a socket pair, so no socket appears in the file system. The
 * host in the machine prints its API address and token on the serial port; that line is how the rig learns them.
 */
import { copyFileSync, createWriteStream, type WriteStream } from "node:fs";
import { basename, join } from "node:path";
import type { Duplex } from "node:stream";
import { messageOf, ThimbleError } from "../base/errors.ts";
import type { Accelerator } from "./accelerator.ts";
import { ApiClient } from "./api-client.ts";
import { findFreePort } from "./free-port.ts";
import { makeRunDirectory, type RunDirectory } from "./paths.ts";
import { describeEnd, type OwnedProcess, startOwned } from "./process.ts";
import { type BootSource, type NicModel, qemuArguments } from "./qemu-arguments.ts";
import { qemuFixLibrary } from "./qemu-fix/qemu-fix.ts";
import { QmpClient } from "./qmp.ts";
import { TextFeed } from "./text-feed.ts";
import { within } from "./time.ts";

const MiB = 1024 * 1024;

export interface ServerOptions {
  /** Names the log files: build/log/NAME-serial.log and NAME-qemu.log. */
  readonly name: string;
  readonly boot: BootSource;
  readonly accelerator: Accelerator;
  /** Default 2. */
  readonly cpus?: number;
  /** Default 2 GiB. */
  readonly memoryBytes?: number;
  /** Default virtio-net-pci. */
  readonly nic?: NicModel;
  /** QEMU's arguments for further devices. Default none: a server without disks. */
  readonly more?: readonly string[];
  /** A second serial port, whose other end is `secondSerial`. */
  readonly withSecondSerial?: boolean;
}

/** The line by which the host gives its API address and token (docs/api.md), up to its end: it may come in pieces. */
const apiLine = /thimble: api (http:\/\/\S+) token ([0-9a-f]+)\r?\n/;

/** The kernel's own word that nothing more will come. */
const kernelPanic = /Kernel panic - not syncing[^\r\n]*/;

export class SimulatedServer {
  /** What the server prints on its first serial port. */
  readonly console = new TextFeed();
  /** The same for the second serial port, if it was asked for. */
  readonly secondConsole = new TextFeed();
  readonly logFile: string;
  /** When the power came on, in the clock of `performance.now()`. */
  readonly poweredOnAt = performance.now();
  /** Resolves with the reason when the machine is off. */
  readonly off: Promise<string>;
  readonly qmp: QmpClient;
  /** The server's API as seen from this machine. */
  readonly apiOrigin: string;

  readonly #process: OwnedProcess;
  readonly #log: WriteStream;
  #token: string | undefined;

  private constructor(
    readonly options: ServerOptions,
    directory: RunDirectory,
    qemu: OwnedProcess,
    apiPort: number,
  ) {
    this.#process = qemu;
    this.apiOrigin = `http://127.0.0.1:${apiPort}`;
    this.logFile = join(directory.logDirectory, `${options.name}-serial.log`);
    this.#log = createWriteStream(this.logFile);
    this.qmp = new QmpClient(qemu.channels[0] as Duplex);

    let complaints = "";
    qemu.child.stdout?.on("data", (bytes: Buffer) => {
      this.#log.write(bytes);
      this.console.push(bytes);
    });
    qemu.child.stderr?.on("data", (bytes: Buffer) => {
      complaints = (complaints + bytes.toString()).slice(-4096);
      this.#log.write(bytes);
    });
    qemu.channels[1]?.on("data", (bytes: Buffer) => this.secondConsole.push(bytes));
    this.off = qemu.ended.then((end) => {
      const reason = `The simulated server "${options.name}" went off (QEMU ended with ${describeEnd(end)})`;
      const detail = complaints.trim() === "" ? reason : `${reason}: ${complaints.trim()}`;
      this.console.end(detail);
      this.secondConsole.end(detail);
      this.#log.end();
      directory.remove();
      return detail;
    });
  }

  /** Powers a server on. Errors: `program_failed_to_start`. */
  static async start(options: ServerOptions): Promise<SimulatedServer> {
    const directory = makeRunDirectory(options.name);
    const apiPort = await findFreePort();
    const args = qemuArguments({
      boot: privateBootSource(options.boot, directory.path),
      accelerator: options.accelerator,
      cpus: options.cpus ?? 2,
      memoryBytes: options.memoryBytes ?? 2048 * MiB,
      nic: options.nic ?? "virtio-net-pci",
      apiPort,
      qmpDescriptor: 3,
      ...(options.more === undefined ? {} : { more: options.more }),
      ...(options.withSecondSerial === true ? { secondSerialDescriptor: 4 } : {}),
    });
    const channels = options.withSecondSerial === true ? 2 : 1;
    const env = {
      ...process.env,
      ...(options.accelerator === "tcg" ? { LD_PRELOAD: await qemuFixLibrary() } : {}),
    };
    const qemu = await startOwned("qemu-system-x86_64", args, { cwd: directory.path, channels, env });
    return new SimulatedServer(options, directory, qemu, apiPort);
  }

  /** Where the host's API is, and its token, as far as known. */
  get token(): string | undefined {
    return this.#token;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /**
   * Waits until the host's API answers and gives a client for it. After a restart, `from` is the console's position
   * before it: each boot has a token of its own.
   * Errors: `host_not_ready` with the reason, the last console lines and the log file.
   */
  async waitForApi(timeoutMs: number, from = 0): Promise<ApiClient> {
    const start = performance.now();
    try {
      const seen = this.console.waitFor(apiLine, timeoutMs, from);
      const panicked = this.console.waitFor(kernelPanic, timeoutMs, from).then(({ match }) => {
        throw new ThimbleError("host_panicked", `The host's kernel panicked: ${match[0]}`);
      });
      panicked.catch(() => {});
      const { match } = await Promise.race([seen, panicked]);
      this.#token = match[2] as string;
      const client = new ApiClient(this.apiOrigin, this.#token);
      const left = Math.max(1000, timeoutMs - (performance.now() - start));
      await within(left, "The API's first answer", client.waitUntilAnswering(left));
      return client;
    } catch (error) {
      const message = `The host in "${this.options.name}" did not become ready: ${messageOf(error)}\nLog: ${this.logFile}`;
      throw new ThimbleError("host_not_ready", message, { cause: error });
    }
  }

  /** Types on the first serial port. */
  type(text: string): void {
    this.#process.child.stdin?.write(text);
  }

  /** Types on the second serial port. */
  typeOnSecond(text: string): void {
    this.#process.channels[1]?.write(text);
  }

  /**
   * Presses the power button and waits until the machine is off; after `timeoutMs` the power is cut.
   * Returns whether the machine went off by itself.
   */
  async powerOff(timeoutMs = 60_000): Promise<boolean> {
    try {
      await this.qmp.execute("system_powerdown");
      await within(timeoutMs, "Powering off", this.off);
      return true;
    } catch {
      await this.cutPower();
      return false;
    }
  }

  /** Pulls the plug. */
  async cutPower(): Promise<void> {
    await this.#process.kill();
    await this.off;
  }
}

/** Each server writes its own copy of the variables, as each board has its own flash chip. */
function privateBootSource(boot: BootSource, directory: string): BootSource {
  if (boot.kind !== "flash") return boot;
  const variables = join(directory, basename(boot.variables));
  copyFileSync(boot.variables, variables);
  return { ...boot, variables };
}
