/** A real DNS server (dnsmasq) on a loopback port of this machine, which guests reach through the server's network. */
import { findFreePort } from "../free-port.ts";
import { type OwnedProcess, startOwned } from "../process.ts";
import { TextFeed } from "../text-feed.ts";

export interface NameServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** Serves the given names (name to IPv4 address) and nothing else. Needs no privileges. */
export async function startNameServer(names: Readonly<Record<string, string>>): Promise<NameServer> {
  const port = await findFreePort();
  const dnsmasq: OwnedProcess = await startOwned("dnsmasq", [
    ...["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--log-queries"],
    ...["--no-hosts", "--no-resolv", "--bind-interfaces", "--listen-address=127.0.0.1", `--port=${port}`],
    // Of its names it also knows what they have not: no IPv6 address is an answer, not a refusal.
    ...Object.keys(names).map((name) => `--local=/${name}/`),
    ...Object.entries(names).map(([name, address]) => `--host-record=${name},${address}`),
  ]);
  const log = new TextFeed();
  dnsmasq.child.stderr?.on("data", (bytes: Buffer) => log.push(bytes));
  dnsmasq.ended.then(() => log.end("dnsmasq ended"));
  await log.waitFor(/started, version/, 10_000);
  return {
    port,
    async stop() {
      await dnsmasq.kill();
    },
  };
}
