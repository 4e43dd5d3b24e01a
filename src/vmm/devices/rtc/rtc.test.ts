import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../../base/addresses.ts";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { exerciseRegisters, ManualClock, RecordedLine, throughJson } from "../test-support.ts";
import { Cmos, Register, RegisterA, RegisterB, RegisterC, RegisterD } from "./bits.ts";
import { Rtc } from "./rtc.ts";
import { decodeTime, encodeTime } from "./time.ts";

function machine(memoryBytes = 128 * MiB) {
  const clock = new ManualClock();
  const line = new RecordedLine();
  const rtc = new Rtc({ clock, interrupt: line, memoryBytes, cpus: 2 });
  const get = (index: number) => {
    rtc.write(0, 1, index);
    return rtc.read(1, 1);
  };
  const set = (index: number, value: number) => {
    rtc.write(0, 1, index);
    rtc.write(1, 1, value);
  };
  return { clock, line, rtc, get, set };
}

const TIME = [
  Register.Century,
  Register.Year,
  Register.Month,
  Register.DayOfMonth,
  Register.Hours,
  Register.Minutes,
];

function setWall(clock: ManualClock, iso: string): void {
  clock.wallOffsetMs = Date.parse(iso) - clock.nowMs;
}

test("time is the host's, in packed decimal and 24 hours, with the century", () => {
  const { clock, get } = machine();
  setWall(clock, "2026-11-23T14:35:59.500Z");
  assert.deepEqual(TIME.map(get), [0x20, 0x26, 0x11, 0x23, 0x14, 0x35]);
  assert.equal(get(Register.Seconds), 0x59);
  assert.equal(get(Register.DayOfWeek), 2, "Monday");
  assert.equal(get(Register.D), RegisterD.ValidRamAndTime);
  clock.advance(501);
  assert.deepEqual([get(Register.Minutes), get(Register.Seconds)], [0x36, 0x00]);
});

test("every date converts to registers and back as Date does, in all four modes", () => {
  const random = new SeededRandom(testSeed());
  const cmos = new Uint8Array(128);
  for (let i = 0; i < 5000; i++) {
    const second = random.u32() * 2 - 2_000_000_000;
    cmos[Register.B] = random.pick([
      0,
      RegisterB.Binary,
      RegisterB.Hours24,
      RegisterB.Binary | RegisterB.Hours24,
    ]);
    encodeTime(second, cmos);
    assert.equal(decodeTime(cmos), second, `seed ${random.seed}`);
    cmos[Register.B] = RegisterB.Binary | RegisterB.Hours24;
    encodeTime(second, cmos);
    const date = new Date(second * 1000);
    assert.equal(
      (cmos[Register.Century] as number) * 100 + (cmos[Register.Year] as number),
      date.getUTCFullYear(),
    );
    assert.equal(cmos[Register.Month], date.getUTCMonth() + 1, `seed ${random.seed}`);
    assert.equal(cmos[Register.DayOfWeek], date.getUTCDay() + 1, `seed ${random.seed}`);
  }
});

test("a guest that sets the clock as Linux does reads that time afterwards, and it goes on", () => {
  const { clock, get, set, rtc } = machine();
  set(Register.B, RegisterB.Hours24 | RegisterB.Set);
  set(Register.A, RegisterA.DividerMask | 6);
  const values = [0x19, 0x99, 0x12, 0x31, 0x23, 0x59];
  TIME.forEach((register, i) => {
    set(register, values[i] as number);
  });
  set(Register.Seconds, 0x59);
  clock.advance(5000);
  assert.equal(get(Register.Seconds), 0x59, "held");
  set(Register.B, RegisterB.Hours24);
  set(Register.A, RegisterA.Divider32kHz | 6);
  assert.deepEqual(TIME.map(get), values);
  clock.advance(1000);
  assert.deepEqual(TIME.map(get), [0x20, 0x00, 0x01, 0x01, 0x00, 0x00]);
  rtc.reset();
  assert.equal(get(Register.Century), 0x20, "a reset does not change the time");
});

test("update in progress shows for the last two milliseconds of a second only", () => {
  const { clock, get } = machine();
  setWall(clock, "2026-01-01T00:00:00.500Z");
  assert.equal(get(Register.A) & RegisterA.UpdateInProgress, 0);
  clock.advance(498.5);
  assert.equal(get(Register.A) & RegisterA.UpdateInProgress, RegisterA.UpdateInProgress);
  clock.advance(1.5);
  assert.equal(get(Register.A) & RegisterA.UpdateInProgress, 0);
});

test("the update interrupt comes once a second and is cleared by reading register C", () => {
  const { clock, line, get, set } = machine();
  set(Register.B, RegisterB.Hours24 | RegisterB.UpdateInterrupt);
  clock.advance(1001);
  assert.equal(line.level, true);
  assert.equal(get(Register.C), RegisterC.Request | RegisterC.Update);
  assert.equal(line.level, false);
  clock.advance(1000);
  assert.equal(line.rises, 2);
  set(Register.B, RegisterB.Hours24);
  assert.equal(line.level, false);
  assert.equal(clock.pending, 0);
});

test("the alarm interrupts at its time and, with don't-care values, every minute", () => {
  const { clock, line, get, set } = machine();
  setWall(clock, "2026-01-01T10:00:00Z");
  set(Register.HoursAlarm, 0x10);
  set(Register.MinutesAlarm, 0x01);
  set(Register.SecondsAlarm, 0x05);
  set(Register.B, RegisterB.Hours24 | RegisterB.AlarmInterrupt);
  clock.advance(64_000);
  assert.equal(line.level, false);
  clock.advance(1000);
  assert.equal(line.level, true);
  assert.equal(get(Register.C) & RegisterC.Alarm, RegisterC.Alarm);
  set(Register.HoursAlarm, 0xff);
  set(Register.MinutesAlarm, 0xff);
  clock.advance(60_000);
  assert.equal(line.level, true);
});

test("an alarm between the last look and a move to another machine is still told there", () => {
  const { rtc, clock, set } = machine();
  setWall(clock, "2026-01-01T10:00:00Z");
  set(Register.HoursAlarm, 0x10);
  set(Register.MinutesAlarm, 0x00);
  set(Register.SecondsAlarm, 0x05);
  clock.advance(10_000);
  const other = machine();
  setWall(other.clock, "2026-01-01T10:00:11Z");
  other.rtc.restore(throughJson(rtc.save()));
  assert.equal(other.get(Register.C), RegisterC.Update | RegisterC.Alarm);
});

test("the periodic interrupt follows the rate", () => {
  const { clock, line, get, set } = machine();
  set(Register.A, RegisterA.Divider32kHz | 12);
  set(Register.B, RegisterB.Hours24 | RegisterB.PeriodicInterrupt);
  for (let i = 0; i < 16; i++) {
    clock.advance(63);
    assert.equal(get(Register.C) & RegisterC.Periodic, RegisterC.Periodic);
  }
  assert.equal(line.rises, 16);
});

test("memory sizes stand where old software looks for them", () => {
  const small = machine(128 * MiB);
  const word = (m: typeof small, at: number) => m.get(at) | (m.get(at + 1) << 8);
  assert.equal(word(small, Cmos.BaseMemoryKiB), 640);
  assert.equal(word(small, Cmos.ExtendedMemoryKiB), 65_535);
  assert.equal(word(small, Cmos.MemoryAbove16MiB), 112 * 16);
  const large = machine(5 * GiB);
  assert.equal(word(large, Cmos.MemoryAbove16MiB), (3 * 1024 - 16) * 16);
  assert.equal(word(large, Cmos.MemoryAbove4GiB), 2 * 1024 * 16);
});

test("random accesses never throw, and a saved clock is restored exactly", () => {
  const random = new SeededRandom(testSeed());
  const { clock, rtc } = machine();
  exerciseRegisters(random, rtc, 2, 20_000, () => {
    if (random.below(20) === 0) clock.advance(random.below(3000) / 3);
    if (random.below(200) === 0) setWall(clock, "1969-12-31T23:59:59Z");
  });
  assert.doesNotThrow(() => rtc.restore(throughJson(rtc.save())));
});
