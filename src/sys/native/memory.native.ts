/** Guest memory above 4 GiB, terminals, log lines. */
import { GiB, guestPhysical, MiB } from "../../base/addresses.ts";
import { close, O_RDWR, open, pipe, read, readText, tryRead, writeAll } from "../fs.ts";
import { ioctl, ior, iow } from "../ioctl.ts";
import { createLogger, stderrSink } from "../log.ts";
import { giveBack, mapGuestRam } from "../memory.ts";
import { exitOf, spawn } from "../process.ts";
import { isTerminal, makeRaw, setTerminalSize, terminalSize } from "../terminal.ts";
import { utf8Decode, utf8Encode } from "../text.ts";
import { equal, ok, runTests, test } from "./harness.ts";

test("guest memory lies in two ranges and is seen through several windows", () => {
  const low = { start: guestPhysical(0), sizeBytes: 3 * GiB };
  const high = { start: guestPhysical(4 * GiB), sizeBytes: 2 * GiB };
  const ram = mapGuestRam("guest", [low, high]);
  const [lowRegion, highRegion] = ram.regions;
  ok(lowRegion !== undefined && highRegion !== undefined, "two regions");
  const last = new Uint8Array(ram.map(highRegion, GiB, GiB));
  last[GiB - 1] = 0x77;
  const direct = new Uint8Array(bridge.view(highRegion.host + 2 * GiB - 1, 1));
  equal(direct[0], 0x77);
  const first = new Uint8Array(ram.map(lowRegion, 2 * GiB, GiB));
  equal([first.length, first[GiB - 1]], [GiB, 0]);
  ok(readText("/proc/self/smaps_rollup").length > 0, "smaps");
  ram.release();
  equal([last.length, first.length], [0, 0]);
});

test("guest memory given back reads as zeroes, and begins where a huge page may", () => {
  const ram = mapGuestRam("guest", [{ start: guestPhysical(0), sizeBytes: 2 * MiB }]);
  const region = ram.regions[0];
  ok(region !== undefined, "a region");
  const bytes = new Uint8Array(ram.map(region, 0, 2 * MiB));
  bytes.fill(1);
  equal(region.host % (2 * MiB), 0);
  giveBack(region.host, MiB);
  equal([bytes[0], bytes[MiB - 1], bytes[MiB]], [0, 0, 1]);
  ram.release();
});

/** A pseudo-terminal: [master, slave]. */
function openTerminal(): [number, number] {
  const TIOCSPTLCK = iow(0x54, 0x31, 4);
  const TIOCGPTN = ior(0x54, 0x30, 4);
  const master = open("/dev/ptmx", O_RDWR);
  ioctl(master, TIOCSPTLCK, new Int32Array(1), "TIOCSPTLCK");
  const number = new Uint32Array(1);
  ioctl(master, TIOCGPTN, number, "TIOCGPTN");
  return [master, open(`/dev/pts/${number[0]}`, O_RDWR)];
}

test("raw mode passes bytes as they are, and is taken back", () => {
  const [master, slave] = openTerminal();
  const buffer = new Uint8Array(100);
  equal([isTerminal(slave), isTerminal(open("/dev/null", O_RDWR))], [true, false]);
  const restore = makeRaw(slave);
  writeAll(master, Uint8Array.of(3, 13, 4, 0xff)); // Ctrl-C, return, Ctrl-D
  equal(buffer.slice(0, read(slave, buffer)), Uint8Array.of(3, 13, 4, 0xff));
  writeAll(slave, utf8Encode("a\nb"));
  equal(utf8Decode(buffer.slice(0, read(master, buffer))), "a\nb");
  restore();
  writeAll(slave, utf8Encode("a\nb"));
  equal(utf8Decode(buffer.slice(0, read(master, buffer))), "a\r\nb");
  setTerminalSize(master, { rows: 40, columns: 132 });
  equal(terminalSize(slave), { rows: 40, columns: 132 });
  close(master);
  close(slave);
});

test("a logger passes on what its level allows", () => {
  const lines: string[] = [];
  const log = createLogger("vmm", "warn", (line, level) => lines.push(`${level} ${line}`));
  log.error("one");
  log.warn("two");
  log.info("three");
  equal(lines, ["0 vmm: one", "1 vmm: two"]);
});

test("lines on stderr are stamped with the time since power-on", async (loop) => {
  const [input, output] = pipe(0o4000);
  const child = spawn({
    path: "/bin/true",
    stderr: output,
    childSetup: () => stderrSink("agent: text", 1),
  });
  await exitOf(loop, child);
  const buffer = new Uint8Array(200);
  const text = utf8Decode(buffer.subarray(0, Math.max(0, tryRead(input, buffer))));
  ok(/^\[ *\d+\.\d{3}\] warn: agent: text\n$/.test(text), text);
  close(input);
  close(output);
});

runTests();
