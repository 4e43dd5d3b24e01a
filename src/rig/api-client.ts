/**
 * A client for the host's API (docs/api.md).
 *
 * One keep-alive connection pool per client. Bodies of files are streamed, so a disk image is never in memory. A
 * non-2xx answer becomes an ApiError with the host's own code, sentence and field.
 */
import { createReadStream, statSync } from "node:fs";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ThimbleError } from "../base/errors.ts";
import type {
  ApiErrorBody,
  DiskLimits,
  Host,
  HostEvent,
  Image,
  NetworkLimits,
  Task,
  Vm,
  VmAction,
  VmSpec,
  VmStatistics,
} from "./api-types.ts";
import { ConsoleConnection } from "./console-connection.ts";
import { DisplayBridge } from "./display-bridge.ts";
import { sleep } from "./time.ts";

/** An answer of the API that reports an error. */
export class ApiError extends ThimbleError {
  constructor(
    readonly status: number,
    code: string,
    message: string,
    readonly field: string | undefined,
  ) {
    super(code, message);
  }
}

/** A task that ended in failure. */
export class TaskError extends ThimbleError {
  constructor(readonly task: Task) {
    super(
      task.error?.code ?? "task_failed",
      `${task.kind} of ${task.object.id} failed: ${task.error?.message}`,
    );
  }
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

interface RawRequest {
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | Readable;
  /** Without an answer for this long the request fails. Default 60 s. */
  readonly timeoutMs?: number;
}

/** An answer may take as long as the longest wait that the API offers, and some. */
const answerTimeoutMs = 60_000;
/** The longest `waitMs` of the API. */
const waitMaxMs = 30_000;

export class ApiClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });

  constructor(
    readonly origin: string,
    readonly token: string,
  ) {}

  host(): Promise<Host> {
    return this.json("GET", "/host");
  }

  /** Starts powering the host off; the task may outlive the API. */
  powerOffHost(): Promise<Task> {
    return this.json("POST", "/host/actions/power-off");
  }

  async images(): Promise<readonly Image[]> {
    return (await this.json<{ items: Image[] }>("GET", "/images")).items;
  }

  /** Uploads bytes or a file (given by path) as an image. */
  async uploadImage(name: string, content: Buffer | { readonly path: string }): Promise<Image> {
    const isBuffer = Buffer.isBuffer(content);
    const sizeBytes = isBuffer ? content.length : statSync(content.path).size;
    const answer = await this.raw("PUT", `/images/${name}`, {
      headers: { "content-type": "application/octet-stream", "content-length": String(sizeBytes) },
      body: isBuffer ? content : createReadStream(content.path, { highWaterMark: 1024 * 1024 }),
    });
    return parse(answer);
  }

  /** Makes an empty, sparse disk. */
  createDisk(name: string, sizeBytes: number): Promise<Image> {
    return this.json("POST", "/images", { name, sizeBytes });
  }

  async downloadImage(name: string): Promise<Buffer> {
    const answer = await this.raw("GET", `/images/${name}/content`);
    throwIfError(answer);
    return answer.body;
  }

  async deleteImage(name: string): Promise<void> {
    throwIfError(await this.raw("DELETE", `/images/${name}`));
  }

  async vms(): Promise<readonly Vm[]> {
    return (await this.json<{ items: Vm[] }>("GET", "/vms")).items;
  }

  /** Sets how much memory the balloon takes from the guest. */
  setBalloon(id: string, balloonTargetBytes: number): Promise<Vm> {
    return this.json("PATCH", `/vms/${id}`, { memory: { balloonTargetBytes } });
  }

  /** Sets what an interface may do, by its number. */
  limitNetwork(id: string, index: number, limits: NetworkLimits): Promise<Vm> {
    return this.json("PATCH", `/vms/${id}`, { networks: [{ index, limits }] });
  }

  /** Sets what a disk may do, by its number. */
  limitDisk(id: string, index: number, limits: DiskLimits): Promise<Vm> {
    return this.json("PATCH", `/vms/${id}`, { disks: [{ index, limits }] });
  }

  createVm(spec: VmSpec): Promise<Vm> {
    return this.json("POST", "/vms", spec);
  }

  vm(id: string): Promise<Vm> {
    return this.json("GET", `/vms/${id}`);
  }

  async deleteVm(id: string): Promise<void> {
    throwIfError(await this.raw("DELETE", `/vms/${id}`));
  }

  statistics(id: string): Promise<VmStatistics> {
    return this.json("GET", `/vms/${id}/statistics`);
  }

  /** Starts an action and waits for its task. Errors: ApiError, TaskError, `timed_out`. */
  async act(id: string, action: VmAction, timeoutMs = 60_000, mode?: "agent" | "acpi"): Promise<Task> {
    const body = action === "shutdown" ? { timeoutMs, ...(mode === undefined ? {} : { mode }) } : undefined;
    const task = await this.json<Task>("POST", `/vms/${id}/actions/${action}`, body);
    return this.waitForTask(task.id, timeoutMs + 10_000);
  }

  /** Freezes a guest's file systems, or thaws them; returns how many. */
  async guest(
    id: string,
    what: "freeze" | "thaw",
    body: { readonly timeoutMs?: number } = {},
  ): Promise<number> {
    const request = what === "freeze" ? body : undefined;
    const answer = await this.json<{ fileSystems: number }>("POST", `/vms/${id}/guest/${what}`, request);
    return answer.fileSystems;
  }

  /** Types at a VM's keyboard: keys pressed together, or a text. Returns when they are taken, not when they are typed. */
  async sendKeys(
    id: string,
    what: { readonly keys: readonly string[] } | { readonly text: string },
  ): Promise<void> {
    const body = Buffer.from(JSON.stringify(what));
    const headers = { "content-type": "application/json", "content-length": String(body.length) };
    throwIfError(await this.raw("POST", `/vms/${id}/actions/send-keys`, { headers, body }));
  }

  async waitForTask(id: string, timeoutMs = 60_000): Promise<Task> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const waitMs = Math.max(1, Math.min(waitMaxMs, end - Date.now()));
      const task = await this.json<Task>("GET", `/tasks/${id}?waitMs=${waitMs}`);
      if (task.state === "succeeded") return task;
      if (task.state === "failed") throw new TaskError(task);
      if (Date.now() >= end) {
        throw new ThimbleError(
          "timed_out",
          `${task.kind} of ${task.object.id} took longer than ${timeoutMs} ms.`,
        );
      }
    }
  }

  async events(after = 0, waitMs = 0): Promise<readonly HostEvent[]> {
    return (await this.json<{ items: HostEvent[] }>("GET", `/events?after=${after}&waitMs=${waitMs}`)).items;
  }

  /** The first event after `after` that fits, waiting for it. Errors: `timed_out`. */
  async waitForEvent(fits: (event: HostEvent) => boolean, after = 0, timeoutMs = 30_000): Promise<HostEvent> {
    const end = Date.now() + timeoutMs;
    let last = after;
    for (;;) {
      for (const event of await this.events(last, Math.max(0, Math.min(5000, end - Date.now())))) {
        if (fits(event)) return event;
        last = Math.max(last, event.seq);
      }
      if (Date.now() >= end) {
        throw new ThimbleError("timed_out", `The expected event did not come within ${timeoutMs} ms.`);
      }
    }
  }

  /** Makes a VM's display reachable for VNC clients on a TCP port of this machine. */
  display(id: string): Promise<DisplayBridge> {
    return DisplayBridge.open(`${this.origin.replace("http", "ws")}/api/v1/vms/${id}/vnc`, this.token);
  }

  /** Attaches to a VM's console. */
  console(id: string): Promise<ConsoleConnection> {
    return ConsoleConnection.open(
      `${this.origin.replace("http", "ws")}/api/v1/vms/${id}/console`,
      this.token,
    );
  }

  /** Tries until `GET /host` answers. Errors: `timed_out`, or the API's error if it answers with one. */
  async waitUntilAnswering(timeoutMs: number): Promise<Host> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      try {
        return parse(await this.raw("GET", "/host", { timeoutMs: 5000 }));
      } catch (error) {
        if (error instanceof ApiError || Date.now() > end) throw error;
        await sleep(100);
      }
    }
  }

  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    if (body === undefined) return parse<T>(await this.raw(method, path));
    const bytes = Buffer.from(JSON.stringify(body));
    return parse<T>(
      await this.raw(method, path, {
        headers: { "content-type": "application/json", "content-length": String(bytes.length) },
        body: bytes,
      }),
    );
  }

  /**
   * One exchange, errors of the API included. Rejects only if there is no answer. A kept connection may be closed by the
   * server, as idle for too long, while the request is on its way; then it is sent once more on a new one.
   */
  async raw(method: string, path: string, options: RawRequest = {}): Promise<RawAnswer> {
    const answer = await this.#exchange(method, path, options);
    return answer ?? (await this.#exchange(method, path, options)) ?? this.#lost(method, path);
  }

  #lost(method: string, path: string): never {
    throw new ThimbleError(
      "connection_lost",
      `The host closed the connection twice before ${method} ${path}.`,
    );
  }

  /** Null: the connection had been used before and was closed by the server; the request can be repeated. */
  #exchange(method: string, path: string, options: RawRequest): Promise<RawAnswer | null> {
    return new Promise((resolve, reject) => {
      const request = httpRequest(`${this.origin}/api/v1${path}`, {
        method,
        agent: this.#agent,
        headers: { authorization: `Bearer ${this.token}`, ...options.headers },
        timeout: options.timeoutMs ?? answerTimeoutMs,
      });
      request.on("timeout", () =>
        request.destroy(new ThimbleError("timed_out", `${method} ${path} was not answered in time.`)),
      );
      let answered = false;
      request.on("error", (error: NodeJS.ErrnoException) => {
        if (answered) return;
        const isRepeatable = request.reusedSocket && !(options.body instanceof Readable);
        if (isRepeatable && error.code === "ECONNRESET") resolve(null);
        else reject(error);
      });
      request.on("response", (response) => {
        answered = true;
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
        response.on("error", reject);
      });
      if (options.body instanceof Readable) {
        // A host that refuses a body early closes the connection: the answer counts, not the broken pipe.
        pipeline(options.body, request).catch(() => {});
      } else {
        request.end(options.body);
      }
    });
  }

  /** Closes idle connections. */
  close(): void {
    this.#agent.destroy();
  }
}

function throwIfError(answer: RawAnswer): void {
  if (answer.status >= 200 && answer.status < 300) return;
  const text = answer.body.toString();
  let error: ApiErrorBody | undefined;
  try {
    error = (JSON.parse(text) as { error?: ApiErrorBody }).error;
  } catch {
    // Not JSON: reported below with its text.
  }
  throw new ApiError(
    answer.status,
    error?.code ?? "not_an_api_answer",
    error?.message ?? `The host answered with status ${answer.status}: ${text.slice(0, 300)}`,
    error?.field,
  );
}

function parse<T>(answer: RawAnswer): T {
  throwIfError(answer);
  return JSON.parse(answer.body.toString()) as T;
}
