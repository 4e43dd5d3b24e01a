/** Where development builds, tests and benchmarks of the runtime find what they need. */
import { cacheRoot } from "../cache.ts";
import { quickjsSource } from "../sources.ts";
import type { EngineOptions } from "./engine.ts";

/** The engine's source, from THIMBLE_QUICKJS or fetched as the image's build does, and the shared cache. */
export async function developmentEngine(): Promise<EngineOptions> {
  const given = process.env.THIMBLE_QUICKJS;
  return {
    quickjsSourceDir: given ? given : (await quickjsSource()).directory,
    cacheDir: cacheRoot(),
  };
}
