/** What the host is doing or has done on request: each a task with a state that clients can wait for. */
import { messageOf, ThimbleError } from "../../base/errors.ts";
import { RequestError } from "../http/errors.ts";
import { type Platform, timestamp } from "../platform/platform.ts";

export interface ObjectReference {
  readonly kind: "vm" | "host" | "image";
  readonly id: string;
}

export interface Task {
  readonly id: string;
  readonly kind: string;
  readonly object: ObjectReference;
  readonly state: "running" | "succeeded" | "failed";
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly error?: { readonly code: string; readonly message: string };
  /** Of long work: how much is done. */
  readonly progressPercent?: number;
  /** What the work found out. */
  readonly result?: object;
}

/** Tasks kept after their end; the oldest are forgotten first. */
const ENDED_TASKS_MAX = 200;

type TaskPlatform = Pick<Platform, "after" | "wallMs" | "log" | "randomHex">;

interface Entry {
  task: Task;
  readonly ended: Promise<void>;
}

export class TaskList {
  readonly #platform: TaskPlatform;
  readonly #entries = new Map<string, Entry>();

  constructor(platform: TaskPlatform) {
    this.#platform = platform;
  }

  /**
   * Runs `work` as a task: it succeeds when the promise resolves, to a result or nothing, and fails with the error it
   * rejects with. Long work tells how far it has come.
   */
  start(
    kind: string,
    object: ObjectReference,
    work: (onPercent: (percent: number) => void) => Promise<object | undefined> | Promise<void>,
  ): Task {
    // Not counted: a client that waits over a restart of the agent must not find another task under its id.
    const id = `task-${this.#platform.randomHex(6)}`;
    const task: Task = { id, kind, object, state: "running", startedAt: timestamp(this.#platform) };
    const onPercent = (progressPercent: number) => {
      const entry = this.#entries.get(id);
      if (entry?.task.state === "running") entry.task = { ...entry.task, progressPercent };
    };
    const ended = (work(onPercent) as Promise<object | undefined>).then(
      (result) => this.#end(id, { state: "succeeded", ...(result === undefined ? {} : { result }) }),
      (error: unknown) => {
        const code = error instanceof ThimbleError ? error.code : "internal_error";
        this.#platform.log.warn(`${kind} of ${object.id} failed: ${messageOf(error)}`);
        this.#end(id, { state: "failed", error: { code, message: messageOf(error) } });
      },
    );
    this.#entries.set(id, { task, ended });
    return task;
  }

  list(): Task[] {
    return [...this.#entries.values()].map(({ task }) => task);
  }

  /** Throws RequestError (404). */
  get(id: string): Task {
    return this.#entry(id).task;
  }

  /** The task when it has ended, or as it is after `waitMs`. */
  async wait(id: string, waitMs: number): Promise<Task> {
    const entry = this.#entry(id);
    if (entry.task.state === "running" && waitMs > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#platform.after(waitMs, resolve);
        void entry.ended.then(() => {
          cancel();
          resolve();
        });
      });
    }
    return entry.task;
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      throw new RequestError(404, "task_not_found", `There is no task "${id}". Old tasks are forgotten.`);
    }
    return entry;
  }

  #end(id: string, outcome: Pick<Task, "state" | "error" | "result">): void {
    const entry = this.#entries.get(id) as Entry;
    entry.task = { ...entry.task, ...outcome, endedAt: timestamp(this.#platform) };
    let surplus = -ENDED_TASKS_MAX;
    for (const { task } of this.#entries.values()) if (task.state !== "running") surplus++;
    for (const [old, { task }] of this.#entries) {
      if (surplus <= 0) break;
      if (task.state === "running") continue;
      this.#entries.delete(old);
      surplus--;
    }
  }
}
