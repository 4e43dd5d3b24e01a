/** The command line of `thimble agent`. Without options it is what init starts in the image. */
import { ThimbleError } from "../base/errors.ts";

export interface AgentArguments {
  readonly address: string;
  readonly port: number;
  readonly datastore: string;
  readonly runPath: string;
  readonly initSocket: string;
  readonly vmmProgram: string;
  /** False where the host's network is not the agent's business: VMs then have none either. */
  readonly network: boolean;
}

const DEFAULTS: AgentArguments = {
  address: "0.0.0.0",
  port: 80,
  datastore: "/datastores/ram",
  runPath: "/run/thimble",
  initSocket: "/run/thimble/init.sock",
  vmmProgram: "/proc/self/exe",
  network: true,
};

export const USAGE =
  "usage: thimble agent [--address ADDRESS] [--port PORT] [--datastore DIR] [--run DIR] [--init-socket PATH] " +
  "[--vmm PROGRAM] [--no-network]";

const NAMES: Readonly<Record<string, keyof AgentArguments>> = {
  "--address": "address",
  "--port": "port",
  "--datastore": "datastore",
  "--run": "runPath",
  "--init-socket": "initSocket",
  "--vmm": "vmmProgram",
};

/** Throws ThimbleError("usage"). `argv` starts with the program's name and perhaps "agent". */
export function parseArguments(argv: readonly string[]): AgentArguments {
  const given: Record<string, string | number | boolean> = {};
  for (let i = argv[1] === "agent" ? 2 : 1; i < argv.length; i++) {
    const option = argv[i] as string;
    if (option === "--no-network") {
      given.network = false;
      continue;
    }
    const name = NAMES[option];
    const value = argv[++i];
    if (name === undefined || value === undefined) {
      throw new ThimbleError("usage", `${option} is not an option, or lacks its value. ${USAGE}`);
    }
    if (name === "port" && !/^\d{1,5}$/.test(value))
      throw new ThimbleError("usage", `${value} is not a port. ${USAGE}`);
    given[name] = name === "port" ? Number(value) : value;
  }
  return { ...DEFAULTS, ...given };
}
