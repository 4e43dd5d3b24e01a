import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { AcpiPmOffset, Port } from "../../platform.ts";
import { exerciseRegisters, ManualClock, RecordedLine, throughJson } from "../test-support.ts";
import { AcpiPm } from "./acpi-pm.ts";
import { Pm1, Pm1Control, SLEEP_TYPE_S5 } from "./bits.ts";

function machine() {
  const clock = new ManualClock();
  const line = new RecordedLine();
  let powerOffs = 0;
  const pm = new AcpiPm({ clock, interrupt: line, onPowerOff: () => powerOffs++ });
  return { clock, line, pm, powerOffs: () => powerOffs };
}

const STATUS = AcpiPmOffset.pm1Event;
const ENABLE = AcpiPmOffset.pm1Event + 2;
const CONTROL = AcpiPmOffset.pm1Control;
const TIMER = AcpiPmOffset.pmTimer;

test("the power button raises the system control interrupt until the guest clears it", () => {
  const { line, pm } = machine();
  pm.pressPowerButton();
  assert.equal(line.level, false, "not enabled yet");
  pm.write(ENABLE, 2, Pm1.PowerButton);
  assert.equal(line.level, true);
  assert.equal(pm.read(STATUS, 2), Pm1.PowerButton);
  pm.write(STATUS, 2, Pm1.Wake);
  assert.equal(line.level, true, "writing another bit clears nothing");
  pm.write(STATUS, 2, Pm1.PowerButton);
  assert.equal(line.level, false);
});

test("soft-off is a write of S5's sleep type with the enable bit, at any width", () => {
  const { pm, powerOffs } = machine();
  const s5 = SLEEP_TYPE_S5 << Pm1Control.SleepTypeShift;
  pm.write(CONTROL, 2, s5);
  assert.equal(powerOffs(), 0);
  pm.write(CONTROL, 2, s5 | Pm1Control.SleepEnable);
  assert.equal(powerOffs(), 1);
  pm.write(CONTROL, 4, s5 | Pm1Control.SleepEnable);
  pm.write(CONTROL + 1, 1, (s5 | Pm1Control.SleepEnable) >>> 8);
  assert.equal(powerOffs(), 3);
  pm.write(CONTROL, 2, (1 << Pm1Control.SleepTypeShift) | Pm1Control.SleepEnable);
  assert.equal(powerOffs(), 3, "other sleep states do not exist");
});

test("ACPI mode is always on and the sleep enable bit reads as zero", () => {
  const { pm } = machine();
  assert.equal(pm.read(CONTROL, 2) & Pm1Control.SciEnable, Pm1Control.SciEnable);
  pm.write(CONTROL, 2, 0xffff);
  assert.equal(pm.read(CONTROL, 2) & Pm1Control.SleepEnable, 0);
});

test("the timer counts 3579545 times a second and wraps at 32 bits", () => {
  const { clock, pm } = machine();
  const start = pm.read(TIMER, 4);
  clock.advance(1000);
  assert.ok(Math.abs(pm.read(TIMER, 4) - start - 3_579_545) <= 1);
  clock.advance(1000 * 1200);
  assert.ok(pm.read(TIMER, 4) < 2 ** 32);
  assert.equal(pm.read(STATUS, 2) & Pm1.Timer, Pm1.Timer);
});

test("an enabled timer event interrupts when the top bit changes", () => {
  const { clock, line, pm } = machine();
  pm.write(ENABLE, 2, Pm1.Timer);
  clock.advance(1000 * 599);
  assert.equal(line.level, false);
  clock.advance(1000 * 2);
  assert.equal(line.level, true);
  pm.write(STATUS, 2, Pm1.Timer);
  assert.equal(line.level, false);
  clock.advance(1000 * 600);
  assert.equal(line.level, true);
});

test("random accesses never throw, and a saved device is restored exactly, on another clock too", () => {
  const random = new SeededRandom(testSeed());
  const { clock, pm } = machine();
  exerciseRegisters(random, pm, Port.acpiPm.size, 20_000, () => {
    if (random.below(20) === 0) clock.advance(random.below(100_000) / 7);
    if (random.below(100) === 0) pm.pressPowerButton();
  });
  const saved = throughJson(pm.save());
  const other = machine();
  other.clock.advance(random.below(2 ** 31) / 3);
  other.pm.restore(saved);
  assert.deepEqual(throughJson(other.pm.save()), saved, `seed ${random.seed}`);
});
