import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { exerciseRegisters, ManualClock, RecordedLine, TestTerminal, throughJson } from "../test-support.ts";
import { Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr, Register } from "./bits.ts";
import { Uart16550 } from "./uart16550.ts";

function machine() {
  const clock = new ManualClock();
  const line = new RecordedLine();
  const terminal = new TestTerminal();
  const uart = new Uart16550({ clock, interrupt: line, backend: terminal });
  const inb = (register: number) => uart.read(register, 1);
  const outb = (register: number, value: number) => uart.write(register, 1, value);
  return { clock, line, terminal, uart, inb, outb };
}

/** As Linux's 8250 driver leaves the chip when a terminal is open. */
function opened() {
  const m = machine();
  m.outb(Register.InterruptId, Fcr.Enable | (2 << Fcr.TriggerShift));
  m.outb(Register.LineControl, 3);
  m.outb(Register.ModemControl, Mcr.Dtr | Mcr.Rts | Mcr.Out2);
  m.outb(Register.InterruptEnable, Ier.ReceivedData | Ier.LineStatus);
  return m;
}

test("is detected as a 16550A: scratch, loopback and FIFO bits answer as the probe of Linux expects", () => {
  const { inb, outb } = machine();
  outb(Register.InterruptEnable, 0);
  assert.equal(inb(Register.InterruptEnable) & 0x0f, 0);
  outb(Register.InterruptEnable, 0x0f);
  assert.equal(inb(Register.InterruptEnable) & 0x0f, 0x0f);
  outb(Register.InterruptEnable, 0x40);
  assert.equal(inb(Register.InterruptEnable), 0, "no unit enable bit: not an XScale");
  outb(Register.ModemControl, Mcr.Loop | Mcr.Out2 | Mcr.Rts);
  assert.equal(inb(Register.ModemStatus) & 0xf0, Msr.Carrier | Msr.Cts);
  outb(Register.ModemControl, 0);
  outb(Register.InterruptId, Fcr.Enable);
  assert.equal(inb(Register.InterruptId) >>> 6, 3);
  outb(Register.InterruptId, 0xe7);
  assert.equal(inb(Register.InterruptId) & 0x20, 0, "no 64-byte FIFO: not a 16750");
  outb(Register.LineControl, Lcr.DivisorLatch);
  outb(Register.Data, 0x34);
  outb(Register.InterruptEnable, 0x12);
  assert.deepEqual([inb(Register.Data), inb(Register.InterruptEnable)], [0x34, 0x12]);
  outb(Register.LineControl, 0);
  outb(Register.Scratch, 0xa5);
  assert.equal(inb(Register.Scratch), 0xa5);
});

test("output is batched, in order, and reaches the backend after the delay, when the batch is full, and on flush", () => {
  const { clock, terminal, uart, outb } = opened();
  for (const c of "hello\n") outb(Register.Data, c.charCodeAt(0));
  assert.equal(terminal.output, "");
  clock.advance(5);
  assert.equal(terminal.output, "hello\n");
  assert.equal(terminal.writes, 1);
  const long = "0123456789".repeat(1000);
  for (const c of long) outb(Register.Data, c.charCodeAt(0));
  uart.flush();
  assert.equal(terminal.output, `hello\n${long}`);
  assert.equal(clock.pending, 0);
});

test("the transmitter interrupt is raised on enabling and after each byte, and cleared by reading the identification", () => {
  const { line, inb, outb } = opened();
  assert.equal(line.level, false);
  outb(Register.InterruptEnable, Ier.ReceivedData | Ier.TransmitterEmpty);
  assert.equal(line.level, true);
  assert.equal(inb(Register.InterruptId) & 0x0f, Iir.TransmitterEmpty);
  assert.equal(line.level, false);
  assert.equal(inb(Register.InterruptId) & 0x0f, Iir.None);
  assert.equal(inb(Register.LineStatus), Lsr.TransmitterHoldingEmpty | Lsr.TransmitterEmpty);
  outb(Register.Data, 65);
  assert.equal(line.level, true);
});

test("an interrupt handler that always has more to send is let go before it has gone round 256 times", () => {
  const { clock, line, inb, outb, terminal } = opened();
  outb(Register.InterruptEnable, Ier.TransmitterEmpty);
  let rounds = 0;
  while ((inb(Register.InterruptId) & 0x0f) !== Iir.None) {
    assert.ok(++rounds < 256);
    for (let i = 0; i < 16; i++) outb(Register.Data, 0x78);
  }
  assert.equal(line.level, false);
  clock.advance(5);
  assert.equal(line.level, true, "output goes on after the flush");
  assert.equal(terminal.output.length, rounds * 16);
});

test("typed bytes arrive through the FIFO without loss, sixteen at a time", () => {
  const { line, terminal, inb } = opened();
  const text = "the quick brown fox jumps over the lazy dog";
  terminal.type(text);
  assert.equal(line.level, true);
  assert.equal(inb(Register.InterruptId) & 0x0f, Iir.ReceivedData);
  let got = "";
  while (inb(Register.LineStatus) & Lsr.DataReady) got += String.fromCharCode(inb(Register.Data));
  assert.equal(got, text);
  assert.equal(line.level, false);
  terminal.type("x");
  assert.equal(inb(Register.InterruptId) & 0x0f, Iir.CharacterTimeout);
  assert.equal(inb(Register.Data), 0x78);
});

test("typed bytes wait while nobody reads, and while the chip is in loopback", () => {
  const { terminal, inb, outb } = opened();
  outb(Register.ModemControl, Mcr.Loop);
  terminal.type("ab");
  assert.equal(inb(Register.LineStatus) & Lsr.DataReady, 0);
  outb(Register.Data, 0x5a);
  assert.equal(inb(Register.Data), 0x5a, "own output comes back");
  outb(Register.ModemControl, 0);
  assert.equal(inb(Register.Data), 0x61);
  assert.equal(inb(Register.Data), 0x62);
  assert.equal(terminal.output, "");
});

test("OUT2 gates the interrupt line", () => {
  const { line, terminal, outb } = opened();
  outb(Register.ModemControl, 0);
  terminal.type("x");
  assert.equal(line.level, false);
  outb(Register.ModemControl, Mcr.Out2);
  assert.equal(line.level, true);
});

test("random accesses never throw, and a saved port is restored exactly", () => {
  const random = new SeededRandom(testSeed());
  const { clock, terminal, uart } = machine();
  exerciseRegisters(random, uart, 8, 20_000, () => {
    if (random.below(50) === 0) terminal.type("abc".repeat(random.below(20)));
    if (random.below(20) === 0) clock.advance(random.below(5));
  });
});

test("a state that is not one is refused", () => {
  const { uart } = machine();
  const good = throughJson(uart.save());
  for (const field of Object.keys(good)) {
    assert.throws(() => uart.restore({ ...good, [field]: "nonsense" }), { code: "bad_state" });
  }
});
