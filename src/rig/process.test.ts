import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startOwned } from "./process.ts";
import { eventually } from "./time.ts";

test("a program is started, spoken to over its channels, and killed", async () => {
  const owned = await startOwned("sh", ["-c", "echo over the channel >&3; exec sleep 600"], { channels: 1 });
  const [channel] = owned.channels;
  const text = await new Promise((resolve) =>
    channel?.once("data", (bytes: Buffer) => resolve(bytes.toString())),
  );
  assert.equal(text, "over the channel\n");
  assert.deepEqual(await owned.kill(), { code: null, signal: "SIGKILL" });
});

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`a program ends with the process that owns it, also when that ends by ${signal}`, async () => {
    const module = fileURLToPath(new URL("./process.ts", import.meta.url));
    const script = `
      const { startOwned } = await import(${JSON.stringify(module)});
      console.log((await startOwned("sleep", ["600"])).pid);
      setInterval(() => {}, 1000);`;
    const args = ["--import", "tsx", "--input-type=module", "-e", script];
    const owner = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const pid = await new Promise<number>((resolve) =>
      owner.stdout.once("data", (bytes: Buffer) => resolve(Number(bytes.toString()))),
    );
    assert.ok(existsSync(`/proc/${pid}`));
    owner.kill(signal);
    await eventually(10_000, "the program's end", async () =>
      existsSync(`/proc/${pid}`) ? undefined : true,
    );
  });
}
