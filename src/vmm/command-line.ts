/** The command line of `thimble vmm`. What a reset adds to it is for the VMM itself, not for people. */
import { ThimbleError } from "../base/errors.ts";

/** Sockets on which the VMM listens; they outlive a reset of the machine. */
export const SOCKET_ROLES = ["control", "serial", "console", "graphics"] as const;
/** A channel's role ends in its number. */
export type SocketRole = (typeof SOCKET_ROLES)[number] | `channel${number}`;

export interface VmmArguments {
  readonly configPath: string;
  /** How often the machine has been reset: how often the VMM has executed itself anew. */
  readonly resets: number;
  /** Listening sockets inherited from before the reset. */
  readonly inherited: ReadonlyMap<SocketRole, number>;
}

export const USAGE = "usage: thimble vmm --config FILE";
const FD_MAX = 1_000_000;

/** Throws ThimbleError("usage"). `argv` starts with the program's name and "vmm". */
export function parseArguments(argv: readonly string[]): VmmArguments {
  let configPath: string | undefined;
  let resets = 0;
  const inherited = new Map<SocketRole, number>();
  for (let i = argv[1] === "vmm" ? 2 : 1; i < argv.length; i += 2) {
    const value = argv[i + 1];
    if (value === undefined) throw new ThimbleError("usage", USAGE);
    if (argv[i] === "--config") {
      configPath = value;
    } else if (argv[i] === "--resets") {
      resets = wholeNumber(value, Number.MAX_SAFE_INTEGER);
    } else if (argv[i] === "--inherit") {
      const [role, fd] = value.split("=", 2);
      if (!isRole(role) || fd === undefined) throw new ThimbleError("usage", USAGE);
      inherited.set(role, wholeNumber(fd, FD_MAX));
    } else {
      throw new ThimbleError("usage", `${argv[i]} is not an option. ${USAGE}`);
    }
  }
  if (configPath === undefined) throw new ThimbleError("usage", USAGE);
  return { configPath, resets, inherited };
}

/** The command line with which the VMM executes itself for a reset. */
export function formatArguments(program: string, args: VmmArguments): string[] {
  const argv = [program, "vmm", "--config", args.configPath, "--resets", String(args.resets)];
  for (const [role, fd] of args.inherited) argv.push("--inherit", `${role}=${fd}`);
  return argv;
}

function isRole(text: string | undefined): text is SocketRole {
  return SOCKET_ROLES.some((role) => role === text) || /^channel\d$/.test(text ?? "");
}

function wholeNumber(text: string, max: number): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= max)) throw new ThimbleError("usage", USAGE);
  return value;
}
