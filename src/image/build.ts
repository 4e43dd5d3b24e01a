/** Builds everything: sources → kernel → runtime → initramfs → image → ROM. Steps whose inputs are unchanged are skipped. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ThimbleError } from "../base/errors.ts";
import { cacheRoot, keyOf, withLock } from "./cache.ts";
import { identityConstants, readIdentity } from "./identity.ts";
import { buildInitramfs } from "./initramfs.ts";
import { buildKernel, kernelKey } from "./kernel/build.ts";
import { kernelSettings, type ProfileName, profiles, repositoryRoot } from "./profile.ts";
import { buildRom } from "./rom.ts";
import { type BundleSize, buildRuntime } from "./runtime/build.ts";
import { buildSelector, selectorKey } from "./selector/build.ts";
import { BANK_BYTES, buildTwoBankFlash } from "./selector/two-banks.ts";
import { linuxSource, ovmfFirmware, quickjsSource } from "./sources.ts";
import { type BuildProgress, StepRunner } from "./steps.ts";

export type { BuildProgress } from "./steps.ts";

export interface BuildOptions {
  /** Default "flash". */
  readonly profile?: ProfileName;
  readonly onProgress?: (progress: BuildProgress) => void;
  /** Default: build/ in the repository. */
  readonly outDirectory?: string;
}

/** What was built. All paths are absolute. */
export interface BuildResult {
  /** The image: one PE file (EFI stub), which is also a bzImage. */
  readonly imagePath: string;
  readonly imageBytes: number;
  /** The flash's code part with the image in it; QEMU's pflash unit 0, read-only. */
  readonly romCodePath: string;
  /** The flash's variables as they leave the factory; QEMU's pflash unit 1, to be copied per server. */
  readonly romVarsPath: string;
  /** Both parts together: the size of the flash chip. */
  readonly romBytes: number;
  /** Bytes by which the image could still grow at the ROM's give-up level. */
  readonly romFreeBytes: number;
  /** The flash of two banks with the image in both: its top, read-only, and what is below that, which is written. */
  readonly twoBankCodePath: string;
  readonly twoBankVarsPath: string;
  /** Both parts together: the size of the flash chip. */
  readonly twoBankBytes: number;
  /** What the firmware gave up for the image (src/image/rom.ts). */
  readonly romLevel: string;
  /** The whole userland: the static `thimble` program. */
  readonly programPath: string;
  readonly programBytes: number;
  readonly bundles: readonly BundleSize[];
  readonly initramfsBytes: number;
  /** Each step's log, for error messages. */
  readonly logDirectory: string;
}

/** The parts of the result that a skipped step cannot tell again: kept in build/result.json. */
interface Measured {
  bundles?: readonly BundleSize[];
  romFreeBytes?: number;
  romLevel?: string;
}

/** A key of the build's own code: a step made by other code is not the same step. */
async function buildCodeKey(): Promise<string> {
  const directory = fileURLToPath(new URL(".", import.meta.url));
  const hash = createHash("sha256");
  for (const name of (await readdir(directory, { recursive: true })).sort()) {
    if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
    hash.update(name).update(await readFile(join(directory, name)));
  }
  return hash.digest("hex");
}

/** Replaces a file in one step, so that no reader (QEMU) sees half of it. */
async function writeWhole(path: string, data: Uint8Array): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  await writeFile(partial, data);
  await rename(partial, path);
}

/**
 * Builds what is out of date and returns where everything is. Two builds into one directory take turns.
 * Errors name the object and the log: `build_tool_failed`, `kernel_setting_without_effect`, `bundle_failed`,
 * `image_does_not_fit`, `apt_update_failed` and others.
 */
export function buildAll(options: BuildOptions = {}): Promise<BuildResult> {
  const outDirectory = options.outDirectory ?? join(repositoryRoot, "build");
  return withLock(`build-${keyOf(outDirectory)}`, () => buildInto(outDirectory, options));
}

async function buildInto(out: string, options: BuildOptions): Promise<BuildResult> {
  const profile = profiles[options.profile ?? "flash"];
  const logDirectory = join(out, "log");
  await mkdir(logDirectory, { recursive: true });
  const steps = new StepRunner(out, options.onProgress ?? (() => {}));
  const codeKey = await buildCodeKey();
  const settings = await kernelSettings(profile);

  const sources = await steps.always({ name: "Sources", guessMs: 60_000 }, async (detail) => {
    detail("QuickJS");
    const quickjs = await quickjsSource();
    detail("OVMF");
    const ovmf = await ovmfFirmware("trixie");
    detail("Linux");
    return { quickjs, ovmf, linux: await linuxSource() };
  });

  const measuredFile = join(out, "measured.json");
  const measured = JSON.parse(await readFile(measuredFile, "utf8").catch(() => "{}")) as Measured;
  const remember = async (more: Measured): Promise<void> => {
    Object.assign(measured, more);
    await writeWhole(measuredFile, Buffer.from(`${JSON.stringify(measured, null, 2)}\n`));
  };

  // The bundles' inputs are known only after bundling, and compiling them again takes about a second.
  const { path: programPath } = await steps.always({ name: "Runtime", guessMs: 25_000 }, async () => {
    const built = await buildRuntime({
      quickjsSourceDir: sources.quickjs.directory,
      cacheDir: cacheRoot(),
      outDir: join(out, "runtime"),
      bundles: profile.roles,
      define: identityConstants(await readIdentity(repositoryRoot)),
    });
    await remember({ bundles: built.bundles });
    return built;
  });
  const program = await readFile(programPath);
  const initramfs = buildInitramfs(program);

  const imagePath = join(out, "thimble.efi");
  const kernel = {
    source: sources.linux,
    settings,
    initramfs,
    outPath: imagePath,
    logFile: join(logDirectory, "kernel.log"),
  };
  const imageKey = keyOf(codeKey, await kernelKey(kernel), initramfs);
  await steps.whenChanged(
    { name: "Kernel and image", guessMs: 6 * 60_000, key: imageKey, products: [imagePath] },
    async (detail) => buildKernel({ ...kernel, onDetail: detail }),
  );
  const image = await readFile(imagePath);
  if (image.length > profile.imageBytesMax) {
    throw new ThimbleError(
      "image_over_budget",
      `The image has ${image.length} bytes, ${image.length - profile.imageBytesMax} over its budget: see npm run size.`,
    );
  }

  const romCodePath = join(out, "rom-code.fd");
  const romVarsPath = join(out, "rom-vars.fd");
  const [ovmfCode, ovmfVars] = await Promise.all([
    readFile(sources.ovmf.codePath),
    readFile(sources.ovmf.varsPath),
  ]);
  await steps.whenChanged(
    {
      name: "Flash ROM",
      guessMs: 15_000,
      key: keyOf(codeKey, ovmfCode, ovmfVars, image),
      products: [romCodePath, romVarsPath, measuredFile],
    },
    async () => {
      const rom = buildRom({ ovmfCode, ovmfVars, image });
      await writeWhole(romCodePath, rom.code);
      await writeWhole(romVarsPath, rom.vars);
      await remember({ romFreeBytes: rom.freeBytes, romLevel: rom.level.name });
    },
  );
  const { version } = await readIdentity(repositoryRoot);
  const twoBankCodePath = join(out, "two-bank-code.fd");
  const twoBankVarsPath = join(out, "two-bank-vars.fd");
  await steps.whenChanged(
    {
      name: "Flash of two banks",
      guessMs: 5_000,
      key: keyOf(codeKey, await selectorKey(), ovmfCode, ovmfVars, image, version),
      products: [twoBankCodePath, twoBankVarsPath],
    },
    async () => {
      const bank = { image, version };
      const selector = await buildSelector();
      const flash = buildTwoBankFlash({ ovmfCode, ovmfVars, selector, banks: [bank, bank] });
      await writeWhole(twoBankCodePath, flash.code);
      await writeWhole(twoBankVarsPath, flash.banksAndVars);
    },
  );
  return {
    imagePath,
    imageBytes: image.length,
    romCodePath,
    romVarsPath,
    romBytes: ovmfCode.length + ovmfVars.length,
    romFreeBytes: measured.romFreeBytes ?? 0,
    twoBankCodePath,
    twoBankVarsPath,
    twoBankBytes: ovmfCode.length + ovmfVars.length + 2 * BANK_BYTES,
    romLevel: measured.romLevel ?? "",
    programPath,
    programBytes: program.length,
    bundles: measured.bundles ?? [],
    initramfsBytes: initramfs.length,
    logDirectory,
  };
}
