import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { exerciseRegisters, RecordedLine } from "../test-support.ts";
import { Command, CommandByte, NO_ANSWER, SELF_TEST_PASSED, Status } from "./bits.ts";
import { I8042 } from "./i8042.ts";

function machine() {
  const line = new RecordedLine();
  let resets = 0;
  const controller = new I8042({ interrupt: line, onReset: () => resets++ });
  const status = () => controller.read(4, 1);
  const command = (byte: number) => controller.write(4, 1, byte);
  const data = (byte: number) => controller.write(0, 1, byte);
  const answer = () => {
    assert.ok(status() & Status.OutputFull, "an answer waits");
    return controller.read(0, 1);
  };
  return { line, controller, status, command, data, answer, resets: () => resets };
}

test("command 0xFE resets the machine, and so does clearing the reset line of the output port", () => {
  const { command, data, resets } = machine();
  command(0xfe);
  assert.equal(resets(), 1);
  command(0xff);
  assert.equal(resets(), 1, "a pulse of no line");
  command(Command.WriteOutputPort);
  data(0x02);
  assert.equal(resets(), 2);
});

test("self-test passes, the command byte is kept, and A20 is on", () => {
  const { command, data, answer, status } = machine();
  command(Command.SelfTest);
  assert.equal(answer(), SELF_TEST_PASSED);
  assert.equal(status() & (Status.System | Status.OutputFull), Status.System);
  command(Command.WriteMemory);
  data(CommandByte.KeyboardDisabled | CommandByte.System);
  command(Command.ReadMemory);
  assert.equal(answer() & ~CommandByte.AuxiliaryDisabled, CommandByte.KeyboardDisabled | CommandByte.System);
  command(Command.ReadOutputPort);
  assert.equal(answer() & 3, 3);
});

test("a byte for the keyboard is answered with a timeout and an interrupt, where enabled", () => {
  const { command, data, answer, status, line } = machine();
  command(Command.WriteMemory);
  data(CommandByte.KeyboardInterrupt);
  data(0xf2);
  assert.ok(status() & Status.Timeout);
  assert.equal(line.level, true);
  assert.equal(answer(), NO_ANSWER);
  assert.equal(line.level, false);
});

test("there is no auxiliary port: its test fails, its loop gives nothing back, its clock stays off", () => {
  const { command, data, answer, status } = machine();
  command(Command.WriteAuxiliaryOutput);
  data(0x5a);
  assert.equal(status() & Status.OutputFull, 0);
  command(Command.TestAuxiliary);
  assert.notEqual(answer(), 0);
  command(Command.EnableAuxiliary);
  command(Command.ReadMemory);
  assert.ok(answer() & CommandByte.AuxiliaryDisabled);
});

test("random accesses never throw, and a saved controller is restored exactly", () => {
  exerciseRegisters(new SeededRandom(testSeed()), machine().controller, 5, 20_000);
});
