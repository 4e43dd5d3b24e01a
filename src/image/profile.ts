/** What goes into an image, by profile. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type KernelSettings, mergeFragments } from "./kernel/settings.ts";

export type ProfileName = "flash";

export interface Profile {
  /** Files under kernel/, without `.config`. */
  readonly kernelFragments: readonly string[];
  /** The most the image may take: what the flash's firmware has room for. */
  readonly imageBytesMax: number;
  /** Role (the program's first argument) to the TypeScript it starts with. */
  readonly roles: Readonly<Record<string, string>>;
}

/** The checkout's root directory. */
export const repositoryRoot = fileURLToPath(new URL("../../", import.meta.url));

const entry = (path: string): string => join(repositoryRoot, "src", path);

export const profiles: Readonly<Record<ProfileName, Profile>> = {
  flash: {
    kernelFragments: ["base", "kvm", "net", "storage"],
    imageBytesMax: 2_700_000,
    roles: { init: entry("init/main.ts"), agent: entry("host/main.ts"), vmm: entry("vmm/main.ts") },
  },
};

/** The kernel options of a profile. Errors: `bad_kernel_fragment`. */
export async function kernelSettings(profile: Profile): Promise<KernelSettings> {
  const fragments = profile.kernelFragments.map(async (fragment) => {
    const name = `kernel/${fragment}.config`;
    return { name, text: await readFile(join(repositoryRoot, name), "utf8") };
  });
  return mergeFragments(await Promise.all(fragments));
}
