/** `memory` of a VMM's configuration. */
import type { MemoryConfig } from "./config.ts";
import { boolean, integer, object, optional, present } from "./config-values.ts";

/** An hour. */
const STATISTICS_SECONDS_MAX = 3600;

export const MEMORY_FIELDS = {
  memory: ["hugePages", "mergeable", "freePageReporting", "balloonTargetBytes", "statisticsSeconds"],
} as const satisfies Record<string, readonly string[]>;

export function parseMemory(value: unknown, memoryBytes: number): MemoryConfig {
  const memory = object(value, "memory", MEMORY_FIELDS.memory);
  const flag = (name: "hugePages" | "mergeable" | "freePageReporting") =>
    present(
      name,
      optional(memory[name], (v) => boolean(v, `memory.${name}`)),
    );
  const whole = (name: "balloonTargetBytes" | "statisticsSeconds", max: number) =>
    present(
      name,
      optional(memory[name], (v) => integer(v, `memory.${name}`, 0, max)),
    );
  return {
    ...flag("hugePages"),
    ...flag("mergeable"),
    ...flag("freePageReporting"),
    ...whole("balloonTargetBytes", memoryBytes),
    ...whole("statisticsSeconds", STATISTICS_SECONDS_MAX),
  };
}
