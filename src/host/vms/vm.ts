/**
 * A VM: its record on the datastore, its state, and what is done to it. Every action is a task; whether it is allowed
 * is decided at once, by the state (life-cycle.ts) and by what the host can give (admission.ts).
 */
import { messageOf, ThimbleError } from "../../base/errors.ts";
import type { Chord, ControlCall } from "../../vmm/control.ts";
import type { EventKind } from "../events/events.ts";
import { GuestAgent } from "../guest-agent/guest-agent.ts";
import { codeOf } from "../guest-agent/session.ts";
import { RequestError } from "../http/errors.ts";
import { type Connection, timestamp, within } from "../platform/platform.ts";
import { Signal } from "../signal.ts";
import type { Task } from "../tasks/tasks.ts";
import { checkDisks, checkImages, checkMemory, type RunningVm } from "./admission.ts";
import { applyChange, type VmChange } from "./changes.ts";
import { apiState, nextPhase, type VmPhase, type VmTransition } from "./life-cycle.ts";
import { RunDirectory } from "./run-directory.ts";
import type { VmRecord, VmSpec } from "./spec.ts";
import { cpuTimeMs, ownResidentBytes, parseSmaps } from "./statistics.ts";
import type { ShutdownMode, VmEnvironment, VmStatistics, VmView } from "./vm-types.ts";
import { vmmConfig } from "./vmm-config.ts";
import { type VmmListener, VmmProcess, type VmOutcome } from "./vmm-process.ts";

/** From the VMM's start to the guest's first instruction: reading a kernel and an initrd of any size. */
const START_TIMEOUT_MS = 60_000;
const RESET_TIMEOUT_MS = 30_000;
/** How long a VMM that was told to stop may take before it is killed. */
const STOP_TIMEOUT_MS = 3000;
/** How long a view waits for what the guest says of itself. */
const FACTS_TIMEOUT_MS = 1000;

export class Vm {
  #record: VmRecord;
  #phase: VmPhase = "stopped";
  #process: VmmProcess | null = null;
  #agent: GuestAgent | null = null;
  #pauseReason: string | null = null;
  #running = new Signal<void>();
  #reset = new Signal<void>();
  #finished = new Signal<VmOutcome>();
  readonly #directory: RunDirectory;

  constructor(
    private readonly environment: VmEnvironment,
    record: VmRecord,
  ) {
    this.#record = record;
    this.#directory = new RunDirectory(environment.platform, `${environment.runPath}/${record.id}`);
  }

  get id(): string {
    return this.#record.id;
  }

  get spec(): VmSpec {
    return this.#record.spec;
  }

  get isStopped(): boolean {
    return this.#phase === "stopped";
  }

  /** The Unix socket of the guest's serial port. Throws RequestError (409) when the VM is off. */
  get serialSocket(): string {
    if (this.#process === null) throw this.#wrongState("has no console");
    return this.#directory.serialSocket;
  }

  /** A connection to the VM's display. Throws RequestError (409) when the VM is off or has none, or takes no more viewers. */
  async connectDisplay(): Promise<Connection> {
    this.#checkGraphics();
    if (this.#process === null) throw this.#wrongState("has no display");
    const connection = await this.environment.platform
      .connectUnix(this.#directory.vncSocket)
      .catch(() => null);
    if (connection === null) throw this.#wrongState("does not show its display");
    return connection;
  }

  view(): VmView {
    const { id, createdAt, spec, lastEnd } = this.#record;
    return {
      id,
      ...spec,
      state: this.#state,
      ...(this.#pauseReason === null ? {} : { pauseReason: this.#pauseReason }),
      ...(this.#process === null ? {} : { pid: this.#process.pid }),
      ...(this.#agent === null ? {} : { guestAgent: this.#agent.view }),
      createdAt,
      ...(lastEnd === undefined ? {} : { lastEnd }),
    };
  }

  /** For admission of others. */
  footprint(): RunningVm {
    const { files } = this.environment.platform;
    const residentBytes = this.#process === null ? 0 : ownResidentBytes(files, this.#process.pid);
    return { id: this.id, spec: this.spec, residentBytes };
  }

  /** Throws RequestError (409) when the VM is not stopped, or the host cannot run it now. */
  start(): Task {
    const { environment } = this;
    if (!this.isStopped) throw this.#wrongState("cannot be started");
    checkImages(this.spec, environment.images);
    this.spec.disks.forEach(({ image }, i) => {
      environment.images.diskFiles(image, `disks[${i}].image`);
    });
    checkDisks(this.spec, environment.running());
    checkMemory(this.spec, environment.availableMemory(), environment.running());
    this.#move("start");
    environment.merging.update(environment.running());
    this.#prepareSignals();
    return this.#task("vm.start", () => this.#start());
  }

  /** Asks the guest to power off; without a mode in the best way there is. Throws RequestError (409) unless the VM is running. */
  shutdown(timeoutMs: number, mode?: ShutdownMode): Task {
    if (this.#pauseReason !== null || !this.#move("shutdown")) throw this.#wrongState("cannot be shut down");
    return this.#task("vm.shutdown", () => this.#shutdown(timeoutMs, mode));
  }

  /** The view with what the guest says now, if it says it soon. */
  async freshView(): Promise<VmView> {
    await this.#agent?.refresh(FACTS_TIMEOUT_MS);
    return this.view();
  }

  /** Asks the guest's agent. Rejects with RequestError (409) when the VM is not running or the agent does not follow. */
  async askGuest<T>(ask: (agent: GuestAgent) => Promise<T>): Promise<T> {
    if (this.#agent === null || this.#phase !== "running" || this.#pauseReason !== null) {
      throw this.#wrongState("has no agent to be asked");
    }
    return ask(this.#agent).catch(refuse);
  }

  /** Keeps the guest from running. Throws RequestError (409) unless the VM is running. */
  pause(): Task {
    if (this.#phase !== "running") throw this.#wrongState("cannot be paused");
    return this.#task("vm.pause", async () => {
      await this.#process?.request({ op: "pause" });
    });
  }

  /** Lets a paused guest go on; disks that it waits for are tried again at once. Throws RequestError (409). */
  resume(): Task {
    if (this.#phase !== "running") throw this.#wrongState("cannot be resumed");
    return this.#task("vm.resume", async () => {
      await this.#process?.request({ op: "resume" });
      const reason = (await this.#process?.request({ op: "status" }))?.paused ?? null;
      if (reason !== null) throw new ThimbleError("still_paused", `The VM stays paused: ${reason}.`);
    });
  }

  /** Throws RequestError (409) unless the VM is running. */
  reset(): Task {
    if (this.#phase !== "running") throw this.#wrongState("cannot be reset");
    return this.#task("vm.reset", async () => {
      const done = this.#reset.promise;
      await this.#process?.request({ op: "reset" });
      const ended = this.#finished.promise.then((outcome) => Promise.reject(failure(outcome)));
      const result = await within(
        this.environment.platform,
        RESET_TIMEOUT_MS,
        Promise.race([done, ended]).then(() => true),
      );
      if (result === null)
        throw new ThimbleError("reset_timeout", "The VM did not come back after the reset.");
    });
  }

  /**
   * Types at the VM's keyboard; resolves when the VMM has taken the keys. Rejects with RequestError (409) when the VM has
   * no display or is not running, or too much waits to be typed.
   */
  async sendKeys(chords: readonly Chord[]): Promise<void> {
    this.#checkGraphics();
    if (this.#phase !== "running") throw this.#wrongState("takes no keys");
    await this.#ask({ op: "sendKeys", chords });
  }

  /** Throws RequestError (409) when the VM is stopped or being stopped. */
  forceOff(): Task {
    if (!this.#move("forceOff")) throw this.#wrongState("cannot be forced off");
    return this.#task("vm.force-off", async () => {
      this.#process?.request({ op: "stop" }).catch(() => {});
      const outcome = await within(this.environment.platform, STOP_TIMEOUT_MS, this.#finished.promise);
      if (outcome !== null) return;
      this.#process?.kill();
      await this.#finished.promise;
    });
  }

  /** Asks the guest to power off, and forces it off when it has not after `timeoutMs`. Never rejects. */
  async stop(timeoutMs: number): Promise<void> {
    if (this.#move("shutdown")) await this.#shutdown(timeoutMs).catch(() => {});
    else if (this.#phase === "shuttingDown") {
      await within(this.environment.platform, timeoutMs, this.#finished.promise);
    }
    if (nextPhase(this.#phase, "forceOff") !== null) this.forceOff();
    if (!this.isStopped) await this.#finished.promise;
  }

  /** Throws RequestError (409) when it is not running, SystemError when it ends meanwhile. */
  async statistics(): Promise<VmStatistics> {
    const process = this.#process;
    if (process === null) throw this.#wrongState("has no statistics");
    const { files } = this.environment.platform;
    const status = await process.request({ op: "status" }).catch(() => null);
    return {
      ...parseSmaps(files.readText(`/proc/${process.pid}/smaps`)),
      cpuMs: cpuTimeMs(files, process.pid),
      exits: status?.exits ?? 0,
      resets: status?.resets ?? 0,
      ...(status === null ? {} : { balloon: status.balloon }),
    };
  }

  /** Changes what may be changed at any time, now and for every start; see `applyChange`. */
  change(change: VmChange): Promise<void> {
    const { spec, environment } = this;
    const keep = (changed: Partial<VmSpec>) => {
      this.#record = { ...this.#record, spec: { ...this.spec, ...changed } };
      environment.store.save(this.#record);
    };
    const ask = (call: ControlCall) => this.#ask(call);
    return applyChange({ spec, keep, directory: this.#directory, network: environment.network, ask }, change);
  }

  /** After a restart of the agent: goes on with the VMM that still runs, or clears up after one that does not. */
  async recover(): Promise<void> {
    if (!this.#directory.exists) return;
    const { platform } = this.environment;
    const pid = this.#directory.runningProcess();
    const process = pid === null ? null : platform.adopt(pid);
    this.#move("start");
    this.#prepareSignals();
    if (process === null) {
      const message = "The VM's process ended while no host agent was running.";
      await this.#finish({ failed: true, cause: "lost", message });
      return;
    }
    this.#move("running");
    this.#attach(new VmmProcess(platform, process, this.#directory, this.#listener(false), -1));
  }

  async #start(): Promise<void> {
    const { environment } = this;
    let process: VmmProcess;
    try {
      const taps: string[] = [];
      // Noted before they are made, one by one: what is in the configuration is cleared up in any case.
      for (const [index, { queues }] of this.spec.networks.entries()) {
        const hasSeveralQueues = (queues ?? this.spec.cpus) > 1;
        taps.push(await environment.network.createTap(this.id, index, hasSeveralQueues));
        this.#directory.create(vmmConfig(this.#record, taps, this.#directory, this.environment));
      }
      if (taps.length === 0)
        this.#directory.create(vmmConfig(this.#record, taps, this.#directory, this.environment));
      if (this.#phase !== "starting")
        throw new ThimbleError("cancelled", "The VM was forced off while it was starting.");
      process = this.#spawn();
    } catch (error) {
      const cancelled = this.#phase === "forcingOff";
      await this.#finish({
        failed: !cancelled,
        cause: cancelled ? "stopped" : "failed",
        message: messageOf(error),
      });
      throw error;
    }
    this.#attach(process);
    const started = this.#running.promise.then(() => null);
    const outcome = await within(
      environment.platform,
      START_TIMEOUT_MS,
      Promise.race([started, this.#finished.promise]).then((value) => ({ value })),
    );
    if (outcome === null) {
      process.kill();
      await this.#finished.promise;
      throw new ThimbleError(
        "start_timeout",
        `The VM's process did not start the guest within ${START_TIMEOUT_MS} ms.`,
      );
    }
    if (outcome.value !== null) throw failure(outcome.value);
  }

  #spawn(): VmmProcess {
    const { platform, vmmCommand } = this.environment;
    const argv = [...vmmCommand, "--config", this.#directory.configFile];
    const child = platform.spawn(argv, this.#directory.logFile);
    this.#directory.noteProcess(child.pid);
    return new VmmProcess(platform, child, this.#directory, this.#listener(true), 0);
  }

  #attach(process: VmmProcess): void {
    this.#process = process;
    this.#agent = new GuestAgent(this.environment.platform, this.#directory.agentSocket);
    void process.ended.then((outcome) => this.#finish(outcome));
  }

  #listener(isNew: boolean): VmmListener {
    return {
      onPaused: (reason) => {
        this.#pauseReason = reason;
        const { name } = this.spec;
        if (reason === null) this.#event("vm.resumed", `The VM "${name}" goes on.`);
        else this.#event("vm.paused", `The VM "${name}" is paused: ${reason}.`);
      },
      onRunning: () => {
        this.#move("running");
        if (isNew) this.#event("vm.started", `The VM "${this.spec.name}" has started.`);
        this.#running.resolve();
      },
      onReset: () => {
        this.#event("vm.reset", `The VM "${this.spec.name}" was reset.`);
        this.#reset.resolve();
        this.#reset = new Signal();
      },
    };
  }

  async #shutdown(timeoutMs: number, mode?: ShutdownMode): Promise<void> {
    const byAgent = mode === "agent" || (mode === undefined && this.#agent?.isConnected);
    try {
      const isDone = byAgent && (await this.#shutdownByAgent(mode === "agent"));
      if (!isDone) await this.#process?.request({ op: "powerButton" });
    } catch (error) {
      this.#move("giveUp");
      throw error;
    }
    const outcome = await within(this.environment.platform, timeoutMs, this.#finished.promise);
    if (outcome === null) {
      this.#move("giveUp");
      throw new ThimbleError(
        "shutdown_timeout",
        `The guest did not power off within ${timeoutMs} ms and goes on. Try again, or force it off.`,
      );
    }
    if (outcome.failed) throw failure(outcome);
  }

  /** False when the agent does not follow and need not. */
  async #shutdownByAgent(must: boolean): Promise<boolean> {
    try {
      await this.#agent?.shutdown();
      return true;
    } catch (error) {
      if (must || codeOf(error) === null) throw error;
      return false;
    }
  }

  /** Clears up after a run, then tells everyone. */
  async #finish(outcome: VmOutcome): Promise<void> {
    const { platform, network, store, merging } = this.environment;
    this.#process = null;
    this.#agent?.close();
    this.#agent = null;
    this.#pauseReason = null;
    try {
      for (const { tap } of this.#directory.config()?.networks ?? []) await network.removeTap(tap);
      this.#directory.remove();
    } catch (error) {
      platform.log.error(`clearing up after ${this.id}: ${messageOf(error)}`);
    }
    const { failed, cause, message } = outcome;
    this.#record = { ...this.#record, lastEnd: { cause, message, at: timestamp(platform) } };
    this.#move("ended");
    merging.update(this.environment.running());
    try {
      store.save(this.#record);
    } catch (error) {
      platform.log.error(`saving ${this.id}: ${messageOf(error)}`);
    }
    this.#event(failed ? "vm.failed" : "vm.ended", message, cause);
    this.#finished.resolve(outcome);
  }

  #prepareSignals(): void {
    this.#running = new Signal();
    this.#reset = new Signal();
    this.#finished = new Signal();
  }

  /** Goes to the next phase; says whether this one allows it. */
  #move(transition: VmTransition): boolean {
    const next = nextPhase(this.#phase, transition);
    if (next !== null) this.#phase = next;
    return next !== null;
  }

  #task(kind: string, work: () => Promise<void>): Task {
    return this.environment.tasks.start(kind, { kind: "vm", id: this.id }, work);
  }

  get #state(): VmView["state"] {
    return apiState(this.#phase, this.#pauseReason !== null);
  }

  #event(kind: EventKind, message: string, cause?: string): void {
    this.environment.events.add(kind, { kind: "vm", id: this.id }, message, cause);
  }

  /** Asks the VMM, if there is one. Rejects with RequestError (409) when it refuses or cannot be reached. */
  async #ask(call: ControlCall): Promise<void> {
    await this.#process?.request(call).catch(refuse);
  }

  #checkGraphics(): void {
    if (this.spec.graphics === true) return;
    const advice = 'Create it with "graphics": true.';
    throw new RequestError(409, "no_graphics", `The VM "${this.spec.name}" has no display. ${advice}`);
  }

  #wrongState(what: string): RequestError {
    const state = this.#state;
    return new RequestError(409, `vm_${state}`, `The VM "${this.spec.name}" is ${state} and ${what} now.`);
  }
}

/** What a VMM or guest does not do is a conflict for the client. */
function refuse(error: unknown): never {
  if (!(error instanceof ThimbleError)) throw error;
  throw new RequestError(409, error.code, error.message, undefined, { cause: error });
}

function failure(outcome: VmOutcome): ThimbleError {
  const codes: Readonly<Record<string, string>> = { "bad-config": "vm_bad_config", stopped: "vm_stopped" };
  return new ThimbleError(codes[outcome.cause] ?? "vm_failed", outcome.message);
}
