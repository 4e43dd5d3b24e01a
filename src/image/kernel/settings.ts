/** Kernel options as the fragments under kernel/ give them, and as a .config holds them. */
import { ThimbleError } from "../../base/errors.ts";

/** Option name (with CONFIG_) to its value as text: `y`, `64`, `"text"`; `n` stands for "is not set". */
export type KernelSettings = ReadonlyMap<string, string>;

const assignment = /^(CONFIG_\w+)=(.+)$/;
const notSet = /^# (CONFIG_\w+) is not set$/;

/** One line of a fragment or .config; undefined for comments and empty lines. */
function parseLine(line: string): readonly [string, string] | undefined {
  const off = notSet.exec(line);
  if (off !== null) return [off[1] as string, "n"];
  const set = assignment.exec(line);
  return set === null ? undefined : [set[1] as string, (set[2] as string).trim()];
}

/** Reads a .config. */
export function parseConfig(text: string): KernelSettings {
  const settings = new Map<string, string>();
  for (const line of text.split("\n")) {
    const parsed = parseLine(line);
    if (parsed !== undefined) settings.set(...parsed);
  }
  return settings;
}

/**
 * Puts fragments together.
 * Errors: `bad_kernel_fragment` for a line that is no setting, or when two lines contradict each other.
 */
export function mergeFragments(fragments: readonly { name: string; text: string }[]): KernelSettings {
  const settings = new Map<string, string>();
  for (const { name, text } of fragments) {
    for (const [index, line] of text.split("\n").entries()) {
      const parsed = parseLine(line);
      if (parsed === undefined) {
        if (line.trim() === "" || line.startsWith("#")) continue;
        throw new ThimbleError("bad_kernel_fragment", `${name}, line ${index + 1}: "${line}" is no setting.`);
      }
      const [option, value] = parsed;
      const before = settings.get(option);
      if (before !== undefined && before !== value) {
        throw new ThimbleError(
          "bad_kernel_fragment",
          `${name}, line ${index + 1}: ${option} is ${value} here and ${before} before.`,
        );
      }
      settings.set(option, value);
    }
  }
  return settings;
}

/** A .config with the settings in place of its own lines about the same options. */
export function applySettings(config: string, settings: KernelSettings): string {
  const kept = config.split("\n").filter((line) => {
    const option = parseLine(line)?.[0];
    return option === undefined || !settings.has(option);
  });
  const added = [...settings].map(([option, value]) =>
    value === "n" ? `# ${option} is not set` : `${option}=${value}`,
  );
  return `${[...kept, ...added].join("\n")}\n`;
}

/**
 * Checks that a finished .config has every setting: Kconfig silently drops what depends on something absent, and
 * turns on what something else selects. An option that the .config does not mention counts as not set.
 * Errors: `kernel_setting_without_effect` naming each option.
 */
export function verifySettings(config: string, settings: KernelSettings): void {
  const actual = parseConfig(config);
  const wrong: string[] = [];
  for (const [option, value] of settings) {
    const got = actual.get(option) ?? "n";
    if (got !== value) wrong.push(`${option} should be ${value} and is ${got}`);
  }
  if (wrong.length === 0) return;
  throw new ThimbleError(
    "kernel_setting_without_effect",
    `Kernel options in kernel/ have no effect: ${wrong.join("; ")}. Add what they depend on, or remove them.`,
  );
}
