/** The agent as it is in the image, on the machine that tests: built with the real runtime, VMM stand-ins behind it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildRuntime } from "../../image/runtime/build.ts";
import { developmentEngine } from "../../image/runtime/development.ts";
import { ApiClient } from "../../rig/api-client.ts";
import { findFreePort } from "../../rig/free-port.ts";
import { eventually } from "../../rig/time.ts";

export class NativeAgent {
  api!: ApiClient;
  #process!: ChildProcess;
  output = "";

  private constructor(
    readonly directory: string,
    readonly port: number,
  ) {}

  /** Builds it and starts it in a directory of its own. */
  static async start(): Promise<NativeAgent> {
    const directory = mkdtempSync(join(tmpdir(), "thimble-native-agent-"));
    const engine = await developmentEngine();
    const bundles = { agent: fileURLToPath(new URL("../main.ts", import.meta.url)) };
    await buildRuntime({ ...engine, outDir: join(directory, "program"), bundles });
    const vmm = fileURLToPath(new URL("test-vmm.ts", import.meta.url));
    const tsx = import.meta.resolve("tsx");
    const script = `#!/bin/sh\nexec "${process.execPath}" --import "${tsx}" "${vmm}" "$@"\n`;
    writeFileSync(join(directory, "vmm"), script, { mode: 0o755 });
    const agent = new NativeAgent(directory, await findFreePort());
    await agent.restart();
    return agent;
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  /** Starts it again after `kill`. */
  async restart(): Promise<void> {
    const { directory, port } = this;
    const at = (name: string) => join(directory, name);
    const options = ["--address", "127.0.0.1", "--port", String(port), "--no-network"];
    const paths = [
      "--datastore",
      at("store"),
      "--run",
      at("run"),
      "--init-socket",
      at("init.sock"),
      "--vmm",
      at("vmm"),
    ];
    this.output = "";
    this.#process = spawn(at("program/thimble"), ["agent", ...options, ...paths]);
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on("data", (bytes) => {
        this.output += bytes;
      });
    }
    const token = await eventually(
      10_000,
      "the agent's line with its address",
      async () =>
        /^thimble: api http:\/\/127\.0\.0\.1:\d+\/api\/v1 token ([0-9a-f]{64})$/m.exec(this.output)?.[1],
    );
    this.api = new ApiClient(`http://127.0.0.1:${port}`, token);
  }

  /** SIGKILL; VMMs go on. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    this.api.close();
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    return (await ended)[0] as number | null;
  }

  /** How many descriptors it has open. */
  descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Its memory, shared parts divided among their users. */
  pssBytes(): number {
    return Number(/^Pss: +(\d+)/m.exec(readFileSync(`/proc/${this.pid}/smaps_rollup`, "utf8"))?.[1]) * 1024;
  }

  runs(): string[] {
    const path = join(this.directory, "run/vms");
    return existsSync(path) ? readdirSync(path) : [];
  }

  images(): string[] {
    return readdirSync(join(this.directory, "store/images"));
  }

  async remove(): Promise<void> {
    await this.kill("SIGTERM");
    rmSync(this.directory, { recursive: true, force: true });
  }
}
