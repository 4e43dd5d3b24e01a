/** A VM without the host agent: `thimble vmm --config FILE` on a transparent server, its serial port on two FIFOs. */
import { randomBytes } from "node:crypto";
import type { GuestShell } from "../../src/rig/guest/shell.ts";

const READY_TIMEOUT_S = 120;
const LINE_MAX = 1500;

let made = 0;

export class HandVm {
  private constructor(
    private readonly host: GuestShell,
    private readonly base: string,
  ) {}

  /** Starts it and waits for the test guest's user space. `config` is without `serial`. */
  static async start(host: GuestShell, config: object): Promise<HandVm> {
    const base = `/tmp/hand-${++made}`;
    await host.output("mkdir -p /tmp");
    const text = JSON.stringify({ ...config, serial: { kind: "stdio" } });
    await host.output(`: >${base}.json`);
    for (let at = 0; at < text.length; at += LINE_MAX) {
      await host.output(`printf %s '${text.slice(at, at + LINE_MAX)}' >>${base}.json`);
    }
    await host.output(`mkfifo ${base}.in`);
    // The descriptor keeps the FIFO from ending with the first writer.
    await host.output(
      `(/init vmm --config ${base}.json <>${base}.in >${base}.out 2>${base}.words; echo $? >${base}.status) & echo started`,
    );
    const vm = new HandVm(host, base);
    await vm.#waitFor("grep -q THIMBLE-GUEST-READY", `${base}.out`, READY_TIMEOUT_S);
    await host.output(`echo 'stty -echo; PS1= PS2=' >${base}.in`);
    return vm;
  }

  /** Runs a command in the guest: its output. Throws when its status is not 0. */
  async run(command: string, timeoutS = 120): Promise<string> {
    const mark = await this.begin(command);
    return this.finish(mark, timeoutS);
  }

  /** Begins a command in the guest; `finish` waits for it. */
  async begin(command: string): Promise<string> {
    const mark = randomBytes(6).toString("hex");
    await this.host.output(`cat >${this.base}.in <<'E'\n(${command}) 2>&1; echo "@"${mark}@ $?\nE`);
    return mark;
  }

  async finish(mark: string, timeoutS = 120): Promise<string> {
    await this.#waitFor(`grep -q @${mark}@`, `${this.base}.out`, timeoutS);
    const output = await this.host.output(`tr -d '\\r' <${this.base}.out | tail -n 40`);
    const [before = "", after = ""] = output.split(`@${mark}@ `);
    const status = Number.parseInt(after, 10);
    if (status !== 0) throw new Error(`the command ended with ${status}:\n${before}`);
    return before;
  }

  /** Waits until the VMM has said something that matches an extended regular expression of grep. */
  async waitForWords(expression: string, timeoutS = 60): Promise<void> {
    await this.#waitFor(`grep -qE '${expression}'`, `${this.base}.words`, timeoutS);
  }

  /** Powers the guest off and returns the VMM's exit status. */
  async powerOff(): Promise<number> {
    await this.host.output(`echo poweroff -f >${this.base}.in`);
    await this.#waitFor("test -s", `${this.base}.status`, 60);
    return Number(await this.host.output(`cat ${this.base}.status`));
  }

  async #waitFor(check: string, file: string, timeoutS: number): Promise<void> {
    const wait = `i=0; until ${check} ${file}; do sleep 0.2; i=$((i+1)); [ $i -lt ${timeoutS * 5} ] || break; done; ${check} ${file}`;
    const { status } = await this.host.run(wait, (timeoutS + 10) * 1000);
    if (status === 0) return;
    const { output } = await this.host.run(`tail -n 30 ${this.base}.words ${this.base}.out`);
    throw new Error(`waited ${timeoutS} s for "${check} ${file}":\n${output}`);
  }
}
