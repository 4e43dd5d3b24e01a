/**
 * A program that stands in for a VMM in tests of the agent: it speaks the control protocol and echoes on its serial
 * socket, and has no guest. Its "kernel" file says how it behaves: a JSON object with the fields of Behaviour.
 */
import { readFileSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { ThimbleError } from "../../base/errors.ts";
import { type ImageJob, type JobReport, runJob } from "../../disk/job.ts";
import type { VmmConfig } from "../../vmm/config.ts";
import type { ControlRequest, VmmStatus } from "../../vmm/control.ts";
import { NodeFile } from "./test-file.ts";

export interface Behaviour {
  /** Ends with this status at once, after writing `words` to standard error. */
  readonly failWith?: number;
  readonly words?: string;
  readonly ignorePowerButton?: boolean;
  readonly ignoreStop?: boolean;
  /** Never says that the guest runs. */
  readonly neverRuns?: boolean;
  /** Refuses keys; they show on the serial port in any case. */
  readonly busyTyping?: boolean;
  /** Takes no clients at the serial port. */
  readonly refuseConsole?: boolean;
}

if (process.argv.at(-2) === "--image-job") {
  const say = (line: JobReport) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const flags = { read: "r", write: "r+", make: "wx+" } as const;
  try {
    const job = JSON.parse(process.argv.at(-1) as string) as ImageJob;
    const result = runJob(
      job,
      (path, mode) => new NodeFile(path, flags[mode]),
      (percent) => say({ percent }),
    );
    say({ result });
  } catch (error) {
    say({ error: { code: (error as ThimbleError).code, message: (error as Error).message } });
    process.exitCode = 1;
  }
  process.exit();
}

const config = JSON.parse(readFileSync(process.argv.at(-1) as string, "utf8")) as VmmConfig;
let behaviour: Behaviour = {};
try {
  const { boot } = config;
  behaviour = JSON.parse(readFileSync("firmware" in boot ? boot.firmware : boot.kernel, "utf8")) as Behaviour;
} catch {
  // An ordinary file: behave well.
}
if (behaviour.failWith !== undefined) {
  process.stderr.write(`[    0.100] vmm: starting\n[    0.123] error: vmm: ${behaviour.words}\n`);
  process.exit(behaviour.failWith);
}

const controls = new Set<Socket>();
let resets = 0;
let paused: string | null = null;
const tell = (message: object) => {
  for (const socket of controls) socket.write(`${JSON.stringify(message)}\n`);
};
const end = (cause: string, message: string) => {
  tell({ event: "end", cause, message });
  setTimeout(() => process.exit(0), 10);
};
const file = () => JSON.parse(readFileSync(process.argv.at(-1) as string, "utf8")) as VmmConfig;
let balloonTargetBytes = config.memory?.balloonTargetBytes ?? 0;
/** Its guest follows at once. */
const status = (): VmmStatus => ({
  state: state(),
  pid: process.pid,
  resets,
  exits: 1234,
  paused,
  balloon: {
    hasDriver: true,
    targetBytes: balloonTargetBytes,
    actualBytes: balloonTargetBytes,
    releasedBytes: 0,
  },
});
const state = () => (behaviour.neverRuns ? "starting" : "running");

function answer(socket: Socket, request: ControlRequest): void {
  const { id, op } = request;
  if (op === "sendKeys") {
    for (const serial of serials) serial.write(`keys ${JSON.stringify(request.chords)}\n`);
    if (behaviour.busyTyping) {
      socket.write(`${JSON.stringify({ id, ok: false, code: "keys_busy", message: "Still typing." })}\n`);
      return;
    }
  }
  if (op === "balloon") balloonTargetBytes = request.targetBytes;
  if (op === "limitDisk") for (const serial of serials) serial.write(`${JSON.stringify(request)}\n`);
  const result = op === "status" ? status() : null;
  socket.write(`${JSON.stringify({ id, ok: true, result })}\n`);
  if (op === "powerButton" && !behaviour.ignorePowerButton) end("guest-power-off", "The guest powered off.");
  if (op === "stop" && !behaviour.ignoreStop) end("stopped", "The VMM was told to stop.");
  if (op === "pause" || op === "resume") {
    paused = op === "pause" ? "paused on request" : null;
    tell({ event: "paused", reason: paused });
  }
  if (op === "reset") {
    resets++;
    balloonTargetBytes = file().memory?.balloonTargetBytes ?? 0;
    tell({ event: "reset" });
    // As the real one, which executes itself anew.
    for (const other of [...controls, ...serials]) other.destroy();
  }
}

const serials = new Set<Socket>();
const displayPath = config.graphics?.path;
for (const path of [config.controlSocket, (config.serial as { path: string }).path, displayPath]) {
  if (path !== undefined) rmSync(path, { force: true });
}
/** Its display echoes too, after a greeting. */
if (displayPath !== undefined) {
  createServer((socket) => {
    socket.on("error", () => {});
    socket.write("RFB");
    socket.on("data", (bytes) => socket.write(bytes));
  }).listen(displayPath);
}
createServer((socket) => {
  controls.add(socket);
  socket.on("close", () => controls.delete(socket));
  socket.on("error", () => {});
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
    const lines = text.split("\n");
    text = lines.pop() as string;
    for (const line of lines) answer(socket, JSON.parse(line) as ControlRequest);
  });
}).listen(config.controlSocket);

createServer((socket) => {
  if (behaviour.refuseConsole) {
    socket.destroy();
    return;
  }
  serials.add(socket);
  socket.on("close", () => serials.delete(socket));
  socket.on("error", () => {});
  socket.write(`boot ${resets}\n`);
  socket.on("data", (bytes) => socket.write(bytes));
}).listen((config.serial as { path: string }).path);
