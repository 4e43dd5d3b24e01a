/** A build cache of a suite's own, so that no test touches that of the machine. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";

/**
 * Inside `describe`: while its tests run, the cache is in a new directory, which is gone afterwards. At the top of a file
 * it would be in force for all files of the process. Returns the directory.
 */
export function useOwnCache(): string {
  const root = mkdtempSync(join(tmpdir(), "thimble-cache-"));
  const outside = process.env.THIMBLE_CACHE;
  before(() => {
    process.env.THIMBLE_CACHE = root;
  });
  after(() => {
    if (outside === undefined) delete process.env.THIMBLE_CACHE;
    else process.env.THIMBLE_CACHE = outside;
    rmSync(root, { recursive: true });
  });
  return root;
}
