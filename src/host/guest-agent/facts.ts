/** What a guest says of itself: nothing of it is believed to be well-formed, or short. */
import { codeOf, type GuestAgentSession, printable } from "./session.ts";

const TEXT_MAX = 128;
const ADDRESSES_MAX = 64;
const ADDRESS = /^[0-9A-Fa-f:.]{2,45}$/;
const ANSWER_TIMEOUT_MS = 5000;

export interface GuestFacts {
  readonly version?: string;
  readonly hostName?: string;
  readonly osName?: string;
  /** Without those of the loopback interface. */
  readonly addresses?: readonly { readonly interface: string; readonly address: string }[];
}

/** Asks for all of it. What a guest refuses or answers strangely is left out; rejects when the agent is gone. */
export async function askFacts(session: GuestAgentSession): Promise<GuestFacts> {
  const ask = async (command: string): Promise<unknown> => {
    try {
      return await session.request(command, null, ANSWER_TIMEOUT_MS);
    } catch (error) {
      if (codeOf(error) === "guest_refused") return null;
      throw error;
    }
  };
  const text = (from: unknown, field: string) => printable(fieldOf(from, field), TEXT_MAX);
  const version = text(await ask("guest-info"), "version");
  const hostName = text(await ask("guest-get-host-name"), "host-name");
  const osName = text(await ask("guest-get-osinfo"), "pretty-name");
  const addresses = addressesOf(await ask("guest-network-get-interfaces"));
  return {
    ...(version === null ? {} : { version }),
    ...(hostName === null ? {} : { hostName }),
    ...(osName === null ? {} : { osName }),
    ...(addresses === null ? {} : { addresses }),
  };
}

export function addressesOf(interfaces: unknown): NonNullable<GuestFacts["addresses"]> | null {
  if (!Array.isArray(interfaces)) return null;
  const found: { interface: string; address: string }[] = [];
  for (const item of interfaces as unknown[]) {
    const name = printable(fieldOf(item, "name"), TEXT_MAX);
    const list = fieldOf(item, "ip-addresses");
    if (name === null || name === "lo" || !Array.isArray(list)) continue;
    for (const entry of list as unknown[]) {
      const address = fieldOf(entry, "ip-address");
      if (typeof address !== "string" || !ADDRESS.test(address) || isLoopback(address)) continue;
      if (found.length === ADDRESSES_MAX) return found;
      found.push({ interface: name, address });
    }
  }
  return found;
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
