/**
 * What belongs to one run of a VM, in a directory of its own below /run: the VMM's configuration, sockets, log and
 * process. An agent that takes over after a crash finds everything here.
 */
import type { VmmConfig } from "../../vmm/config.ts";
import type { Platform } from "../platform/platform.ts";
import { startTicks } from "./statistics.ts";

/** Enough for the last words of a VMM that failed. */
const LOG_TAIL_BYTES = 4096;

export class RunDirectory {
  readonly configFile: string;
  readonly controlSocket: string;
  readonly serialSocket: string;
  readonly vncSocket: string;
  /** The channel to the guest's agent. */
  readonly agentSocket: string;
  readonly logFile: string;
  readonly #processFile: string;

  constructor(
    private readonly platform: Pick<Platform, "files">,
    readonly path: string,
  ) {
    this.configFile = `${path}/config.json`;
    this.controlSocket = `${path}/control.sock`;
    this.serialSocket = `${path}/serial.sock`;
    this.vncSocket = `${path}/vnc.sock`;
    this.agentSocket = `${path}/agent.sock`;
    this.logFile = `${path}/vmm.log`;
    this.#processFile = `${path}/process.json`;
  }

  get exists(): boolean {
    return this.platform.files.tryStat(this.path) !== null;
  }

  /** Makes it anew, with the configuration in it. */
  create(config: VmmConfig): void {
    this.remove();
    this.platform.files.makeDirectories(this.path, 0o700);
    this.change(config);
  }

  /** Replaces the configuration: a VMM reads it when it is started and at each reset. */
  change(config: VmmConfig): void {
    this.platform.files.replaceFile(this.configFile, JSON.stringify(config), 0o600);
  }

  remove(): void {
    if (this.exists) this.platform.files.removeTree(this.path);
  }

  /** The configuration; null when there is none that is whole. */
  config(): VmmConfig | null {
    return this.#json<VmmConfig>(this.configFile);
  }

  /** Notes which process runs here: its number alone could be another's later. */
  noteProcess(pid: number): void {
    const note = { pid, startTicks: startTicks(this.platform.files, pid) };
    this.platform.files.replaceFile(this.#processFile, JSON.stringify(note), 0o600);
  }

  /** The number of the process that was noted, if that very process still runs. */
  runningProcess(): number | null {
    const note = this.#json<{ pid: number; startTicks: number }>(this.#processFile);
    return note !== null && startTicks(this.platform.files, note.pid) === note.startTicks ? note.pid : null;
  }

  /** The last error in the log, or else its last line, without stamps; empty when there is none. */
  lastWords(): string {
    let text: string;
    try {
      text = this.platform.files.readText(this.logFile).slice(-LOG_TAIL_BYTES);
    } catch {
      return "";
    }
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    const line = lines.findLast((candidate) => /\] error: /.test(candidate)) ?? lines.at(-1) ?? "";
    return line.replace(/^\[[^\]]*\] (?:error: )?(?:vmm: )?/, "").trim();
  }

  #json<T>(path: string): T | null {
    try {
      return JSON.parse(this.platform.files.readText(path)) as T;
    } catch {
      return null;
    }
  }
}
