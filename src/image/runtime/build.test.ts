import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { ThimbleError } from "../../base/errors.ts";
import { buildRuntime } from "./build.ts";
import { developmentEngine } from "./development.ts";
import type { EngineOptions } from "./engine.ts";

describe("the runtime's build", () => {
  let engine: EngineOptions;
  let dir = "";

  before(async () => {
    engine = await developmentEngine();
    dir = await mkdtemp(join(tmpdir(), "thimble-build-"));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  function build(name: string, bundles: Record<string, string>) {
    return buildRuntime({ ...engine, outDir: join(dir, name), bundles });
  }

  async function script(name: string, text: string): Promise<string> {
    const path = join(dir, name);
    await writeFile(path, text);
    return path;
  }

  const PRINT = `const say = (text: string): void => {
  const bytes = bridge.utf8Encode(text);
  bridge.syscall(1, 1, bytes, bytes.length);
};\n`;

  test("the first argument chooses the bundle, whatever the program is called", async () => {
    const init = await script("init.ts", `${PRINT}say("init " + bridge.args.length);`);
    const agent = await script("agent.ts", `${PRINT}say("agent " + bridge.args.slice(1).join());`);
    const { path, bundles } = await build("roles", { init, agent });
    assert.equal(execFileSync(path, ["agent", "x"], { encoding: "utf8" }), "agent agent,x");
    assert.equal(spawnSync(path, ["agent"], { argv0: "/init", encoding: "utf8" }).stdout, "agent agent");
    assert.equal(execFileSync(path, ["init"], { encoding: "utf8" }), "init 2");
    assert.deepEqual(
      bundles.map((bundle) => bundle.role),
      ["agent", "init"],
    );
  });

  test("a part is read when it is first used, shares classes with its role, and is read anew when forgotten", async () => {
    await script("base.ts", "export class Base { #value = 1; get value() { return this.#value; } }");
    await mkdir(join(dir, "parts"), { recursive: true });
    await script(
      "parts/extra.ts",
      `import { Base } from "../base.ts";
       let made = 0;
       export class Extra extends Base { #own = 10; get sum() { return this.#own + this.value + ++made; } }`,
    );
    await script("parts/other.ts", `import { common } from "../common.ts"; export const other = common;`);
    await script("parts/third.ts", `import { common } from "../common.ts"; export const third = common;`);
    // In two parts, so it comes to the role's script.
    await script("common.ts", "export const common = { same: true };");
    await script(
      "parts.ts",
      `/** Parts. */
import * as extra from "./parts/extra.ts";
import * as other from "./parts/other.ts";
import * as third from "./parts/third.ts";

export const extraPart = () => extra;
export const otherPart = () => other;
export const thirdPart = () => third;
export const forgetParts = () => {};
`,
    );
    const entry = await script(
      "with-parts.ts",
      `${PRINT}import { Base } from "./base.ts";
      import { extraPart, forgetParts, otherPart, thirdPart } from "./parts.ts";
      const sums = [new (extraPart().Extra)().sum, new (extraPart().Extra)().sum];
      const isBase = new (extraPart().Extra)() instanceof Base;
      forgetParts();
      sums.push(new (extraPart().Extra)().sum);
      say([...sums, isBase, otherPart().other === thirdPart().third].join());`,
    );
    for (const debug of [false, true]) {
      const outDir = join(dir, `parts-${debug}`);
      const built = await buildRuntime({ ...engine, outDir, debug, bundles: { role: entry } });
      assert.equal(execFileSync(built.path, { encoding: "utf8" }), "12,13,12,true,true");
      const names = built.bundles.map((bundle) => bundle.role);
      assert.deepEqual(names, ["role", "role.extra", "role.other", "role.third"]);
      assert.equal(spawnSync(built.path, ["role.extra"], { encoding: "utf8" }).stdout, "12,13,12,true,true");
    }
    await script("parts.ts", 'import * as extra from "./parts/extra.ts";\nconsole.log(extra);\n');
    await assert.rejects(build("bad-parts", { role: entry }), /must hold imports of parts/);
  });

  test("the same inputs give the same bytes, wherever they are built", async () => {
    const entry = await script("same.ts", `${PRINT}say(new Date(0).toISOString());`);
    const first = await build("same-1", { same: entry });
    const second = await build("same-2/deeper", { same: entry });
    assert.deepEqual(await readFile(first.path), await readFile(second.path));
    const text = (await readFile(first.path)).toString("latin1");
    for (const trace of [dir, engine.quickjsSourceDir, homedir(), "/work/"]) {
      assert.ok(!text.includes(trace), `the executable mentions ${trace}`);
    }
  });

  test("what the image's engine does not have is refused when building, or undefined", async () => {
    const property = await script(
      "property.ts",
      "export const letters = /\\p{Letter}/u.test(bridge.args[0] ?? '');",
    );
    await assert.rejects(build("property", { property }), /SyntaxError/);
    const absent = await script("absent.ts", `${PRINT}say([typeof Math.sin, typeof Proxy].join());`);
    const { path } = await build("absent", { absent });
    assert.equal(execFileSync(path, { encoding: "utf8" }), "undefined,undefined");
  });

  test("errors of a bundle name the file", async () => {
    const broken = await script("broken.ts", "import './not-there.ts';");
    await assert.rejects(
      build("broken", { broken }),
      (error: ThimbleError) => error.code === "bundle_failed" && error.message.includes("not-there"),
    );
    await assert.rejects(
      build("name", { "Bad Name": broken }),
      (error: ThimbleError) => error.code === "bad_role",
    );
  });
});
