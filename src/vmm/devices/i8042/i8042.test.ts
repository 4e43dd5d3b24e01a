import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, testSeed } from "../../../base/random.ts";
import { exerciseRegisters, RecordedLine } from "../test-support.ts";
import { Command, CommandByte, NO_ANSWER, SELF_TEST_PASSED, Status } from "./bits.ts";
import { I8042 } from "./i8042.ts";
import { Ps2Keyboard } from "./keyboard.ts";

function machine(keyboard?: Ps2Keyboard) {
  const line = new RecordedLine();
  let resets = 0;
  const controller = new I8042({
    interrupt: line,
    onReset: () => resets++,
    ...(keyboard === undefined ? {} : { keyboard }),
  });
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

/** Reads what waits at the data port. */
function drain({ status, answer }: ReturnType<typeof machine>): number[] {
  const bytes = [];
  while (status() & Status.OutputFull) bytes.push(answer());
  return bytes;
}

test("a keyboard answers what firmware asks of it, one interrupt a byte", () => {
  const keyed = machine(new Ps2Keyboard());
  const { command, data, line } = keyed;
  command(Command.WriteMemory);
  data(CommandByte.KeyboardInterrupt | CommandByte.Translate);
  const ask = (...bytes: number[]) => {
    const before = line.rises;
    for (const byte of bytes) data(byte);
    const answers = drain(keyed);
    assert.equal(line.rises - before, answers.length);
    return answers;
  };
  assert.deepEqual(ask(0xff), [0xfa, 0xaa]);
  assert.deepEqual(ask(0xf0, 2), [0xfa, 0xfa]);
  assert.deepEqual(ask(0xed), [0xfa]);
  assert.deepEqual(ask(7), [0xfa]);
  assert.deepEqual(ask(0xf4), [0xfa]);
  assert.deepEqual(ask(0x12), [0xfe], "no command");
  command(Command.WriteMemory);
  data(CommandByte.KeyboardInterrupt);
  assert.deepEqual(ask(0xf2), [0xfa, 0xab, 0x83]);
});

test("keys come in set 1 where the controller translates, and in set 2 where it does not", () => {
  const keyed = machine(new Ps2Keyboard());
  const { controller, command, data } = keyed;
  const [A, UP, F12, MUTE] = [30, 103, 88, 113];
  const type = (...keys: number[]) => {
    for (const key of keys) for (const down of [true, false]) controller.key(key, down);
    return drain(keyed);
  };
  assert.deepEqual(type(A), [0x1e, 0x9e]);
  assert.deepEqual(type(UP), [0xe0, 0x48, 0xe0, 0xc8]);
  assert.deepEqual(type(F12, MUTE), [0x58, 0xd8]);
  command(Command.DisableKeyboard);
  assert.deepEqual(type(A), []);
  assert.equal(controller.pending, 3);
  command(Command.EnableKeyboard);
  assert.deepEqual(drain(keyed), [0x1e, 0x9e], "kept meanwhile");
  assert.equal(controller.pending, 0);
  command(Command.WriteMemory);
  data(0);
  assert.deepEqual(type(A, UP), [0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75]);
  data(0xf5);
  drain(keyed);
  assert.deepEqual(type(A), [], "scanning is off");
});

test("random accesses and keys never throw, and a saved keyboard is restored exactly", () => {
  const random = new SeededRandom(testSeed());
  const { controller } = machine(new Ps2Keyboard());
  exerciseRegisters(random, controller, 5, 20_000, () => {
    if (random.below(3) === 0) controller.key(random.below(300), random.below(2) === 0);
  });
});
