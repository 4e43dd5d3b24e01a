/** Terminals: raw mode and size (termios(3), tty_ioctl(4)). */
import { array, packed, struct, u8, u16, u32 } from "../base/layout.ts";
import { ioctl, tryIoctl } from "./ioctl.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCSCTTY = 0x540e;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;

/** The kernel's termios, which is shorter than the C library's (include/uapi/asm-generic/termbits.h). */
const Termios = packed("termios", "include/uapi/asm-generic/termbits.h", {
  inputFlags: u32,
  outputFlags: u32,
  controlFlags: u32,
  localFlags: u32,
  line: u8,
  characters: array(u8, 19),
});
const WindowSize = struct("winsize", "include/uapi/asm-generic/termios.h", {
  rows: u16,
  columns: u16,
  width: u16,
  height: u16,
});

/** IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON */
const INPUT_PROCESSING = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000;
const OPOST = 0o1;
/** ISIG ICANON ECHO ECHONL IEXTEN */
const LOCAL_PROCESSING = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000;
const CSIZE_PARENB = 0o60 | 0o400;
const CS8 = 0o60;
const VTIME = 5;
const VMIN = 6;

/** Whether the descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  return tryIoctl(fd, TCGETS, new Uint8Array(Termios.size)) === 0;
}

/** Bytes go in and out as they are, without echo or signals. Returns the way back. Throws SystemError (ENOTTY). */
export function makeRaw(fd: number): () => void {
  const before = new Uint8Array(Termios.size);
  ioctl(fd, TCGETS, before, "TCGETS");
  const t = Termios.decode(before);
  t.inputFlags &= ~INPUT_PROCESSING;
  t.outputFlags &= ~OPOST;
  t.localFlags &= ~LOCAL_PROCESSING;
  t.controlFlags = (t.controlFlags & ~CSIZE_PARENB) | CS8;
  t.characters[VMIN] = 1;
  t.characters[VTIME] = 0;
  ioctl(fd, TCSETS, Termios.encode(t), "TCSETS");
  return () => {
    tryIoctl(fd, TCSETS, before);
  };
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** The size in characters; 0 by 0 where nobody has set it (serial lines). */
export function terminalSize(fd: number): TerminalSize {
  const out = new Uint8Array(WindowSize.size);
  ioctl(fd, TIOCGWINSZ, out, "TIOCGWINSZ");
  const { rows, columns } = WindowSize.decode(out);
  return { rows, columns };
}

export function setTerminalSize(fd: number, size: TerminalSize): void {
  ioctl(fd, TIOCSWINSZ, WindowSize.encode(size), "TIOCSWINSZ");
}

/** Makes the terminal that of this session, whose leader this process must be. */
export function makeControllingTerminal(fd: number): void {
  ioctl(fd, TIOCSCTTY, 0, "TIOCSCTTY");
}
