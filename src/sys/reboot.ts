/** The end of the machine's, or a process's, running. */
import { check } from "./errno.ts";
import { SYS } from "./syscall-numbers.ts";

const LINUX_REBOOT_MAGIC1 = 0xfee1dead;
const LINUX_REBOOT_MAGIC2 = 0x28121969;
const COMMANDS = {
  restart: 0x01234567,
  halt: 0xcdef0123,
  powerOff: 0x4321fedc,
  /** Ctrl-Alt-Del sends SIGINT to PID 1 instead of restarting at once. */
  ctrlAltDelToInit: 0,
} as const;

/** Does it at once: syncing, stopping and unmounting are the caller's. Throws SystemError (EPERM). */
export function reboot(command: keyof typeof COMMANDS): void {
  check(
    bridge.syscall(SYS.reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, COMMANDS[command], null),
    "reboot",
  );
}

/** Writes what all filesystems hold back; waits for it. */
export function sync(): void {
  bridge.syscallBlocking(SYS.sync);
}
