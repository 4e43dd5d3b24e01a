/** What a guest's input devices report, read from its /dev/input by name of the device. */
import type { GuestShell } from "../../src/rig/guest/shell.ts";
import { eventually } from "../../src/rig/time.ts";

/** struct input_event of a 64-bit Linux: time (16 bytes), type, code, value. */
const EVENT_SIZE = 24;
const EV_SYN = 0;
const EV_REP = 0x14;
const EV_LED = 0x11;
/** A key held down: the guest's own doing. */
const VALUE_REPEAT = 2;
const QUIET_MS = 300;
const PATIENCE_MS = 15_000;

export class GuestInput {
  #seen = 0;

  private constructor(
    readonly shell: GuestShell,
    readonly file: string,
  ) {}

  /** Begins to record what the device of this name reports. Errors: `guest_command_failed` when there is none. */
  static async record(shell: GuestShell, name: string): Promise<GuestInput> {
    const file = `/tmp/${name.replaceAll(" ", "-")}`;
    const found = await shell.output(`grep -lx '${name}' /sys/class/input/event*/device/name`);
    const device = /event\d+/.exec(found)?.[0];
    await shell.output(`cat /dev/input/${device} > ${file} &`);
    return new GuestInput(shell, file);
  }

  /** Waits for `count` events more and, lest there be others, a little longer. "type code value" each, without syncs. */
  async take(count: number): Promise<string[]> {
    let events: string[] = [];
    const enough = async () => {
      events = decode(await this.shell.readFile(this.file)).slice(this.#seen);
      return events.length >= count ? true : undefined;
    };
    await eventually(PATIENCE_MS, `${count} events in ${this.file}`, enough).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    await enough();
    this.#seen += events.length;
    return events;
  }
}

function decode(bytes: Buffer): string[] {
  const events: string[] = [];
  for (let at = 0; at + EVENT_SIZE <= bytes.length; at += EVENT_SIZE) {
    const type = bytes.readUInt16LE(at + 16);
    const value = bytes.readInt32LE(at + 20);
    const isGuests =
      type === EV_SYN || type === EV_REP || type === EV_LED || (type === 1 && value === VALUE_REPEAT);
    if (!isGuests) events.push(`${type} ${bytes.readUInt16LE(at + 18)} ${value}`);
  }
  return events;
}
