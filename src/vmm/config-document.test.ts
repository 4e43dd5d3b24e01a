/** docs/vmm-config.md and the validator know the same fields, defaults and limits. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { VmmExit } from "./config.ts";
import { CONFIG_FIELDS, parseConfig } from "./config-file.ts";

const text = readFileSync(new URL("../../docs/vmm-config.md", import.meta.url), "utf8");
/** Field, and default as text, of each row. */
const rows = [...text.matchAll(/^\| `([\w.[\]]+)` \| .* \| (.*) \|$/gm)].map((m) => [m[1] ?? "", m[2] ?? ""]);
const smallest = { memoryBytes: 16 * 1024 * 1024, boot: { kernel: "k" } };

/** What stands before the fields of each object of CONFIG_FIELDS; absent: its name and a dot. */
const PREFIXES: Readonly<Record<string, string>> = {
  "": "",
  firmwareBoot: "boot.",
  disks: "disks[].",
  backing: "disks[].backing[].",
  diskLimits: "disks[].limits.",
  networks: "networks[].",
  networkLimits: "networks[].limits.",
  networkReceive: "networks[].limits.receive.",
  networkTransmit: "networks[].limits.transmit.",
  channels: "channels[].",
  cdroms: "cdroms[].",
};

test("the document's table has every field of the validator and no other", () => {
  const known = Object.entries(CONFIG_FIELDS).flatMap(([object, names]) => {
    const prefix = PREFIXES[object] ?? `${object}.`;
    return names.map((name) => `${prefix}${name}`);
  });
  assert.deepEqual(rows.map(([field]) => field).sort(), [...new Set(known)].sort());
});

test("the document's defaults are those of the validator", () => {
  const device = { disks: [{ path: "d" }], networks: [{ tap: "t", mac: "52:54:00:12:34:56" }] };
  const parsed: unknown = parseConfig(JSON.stringify({ ...smallest, ...device }));
  const bare: unknown = parseConfig(JSON.stringify(smallest));
  const at = (from: unknown, field: string) =>
    field
      .replaceAll("[]", ".0")
      .split(".")
      .reduce((value, step) => (value as Record<string, unknown> | undefined)?.[step], from);
  for (const [field = "", stated = ""] of rows) {
    if (stated.startsWith("required")) continue;
    const value = field.includes("[]") ? at(parsed, field) : at(bare, field);
    const fallback = /^`(.*)`$/.exec(stated)?.[1];
    // Absent stands for the default that the document states where the validator does not fill it in.
    if (value === undefined) assert.ok(fallback === undefined || /^(true|false)$/.test(fallback), field);
    else assert.deepEqual(value, JSON.parse(fallback ?? "null"), field);
  }
});

test("every example of the document is a valid configuration", () => {
  const examples = [...text.matchAll(/^```json\n([\s\S]*?)^```/gm)].map((m) => m[1] ?? "");
  assert.ok(examples.length >= 3);
  for (const example of examples) parseConfig(example);
});

test("the document names every exit status", () => {
  for (const status of Object.values(VmmExit)) assert.match(text, new RegExp(`^\\| ${status} \\|`, "m"));
});
