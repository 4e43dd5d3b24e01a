/** What the measuring host needs beside Thimble: scripts, guests, firmware, and Debian's QEMU with its libraries. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CpioEntry, cpioArchive } from "../src/image/cpio.ts";
import { runTool } from "../src/image/runtime/tool.ts";
import { ovmfFirmware } from "../src/image/sources.ts";
import { directoryEntry, fileEntry, programEntry } from "../src/rig/guest/archive-entries.ts";
import { guestSystem, rootDisk } from "../src/rig/guest/guest-system.ts";
import { busyboxPath } from "../src/rig/guest/packages.ts";
import { programTree } from "../src/rig/guest/program-tree.ts";
import { qemuPeerEntries } from "../src/rig/guest/qemu-peer.ts";
import { repositoryRoot } from "../src/rig/paths.ts";

const filesDirectory = join(repositoryRoot, "bench/files");
const benchFile = (name: string): Buffer => readFileSync(join(filesDirectory, name));
const fioDiskBytes = 128 * 1024 * 1024;

const freestanding = [
  ..."-m32 -O1 -Wall -Werror -ffreestanding -nostdlib -static -fno-pie -no-pie".split(" "),
  ..."-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mno-sse".split(" "),
  ..."-Wl,--build-id=none -Wl,--no-warn-rwx-segments".split(" "),
];

interface Programs {
  readonly net: Buffer;
  readonly exitsPort: Buffer;
  readonly exitsMmio: Buffer;
  readonly idle: Buffer;
}

/** Compiles the C of files/. Needs gcc and musl-gcc, which the image is built with. */
async function buildPrograms(): Promise<Programs> {
  const directory = mkdtempSync(join(tmpdir(), "thimble-bench-"));
  try {
    const compile = async (compiler: string, name: string, ...args: string[]): Promise<Buffer> => {
      const output = join(directory, name);
      await runTool(compiler, [...args, "-o", output]);
      return readFileSync(output);
    };
    const kernel = [
      ...freestanding,
      `-Wl,-T,${join(filesDirectory, "exits.ld")}`,
      join(filesDirectory, "exits.c"),
    ];
    return {
      net: await compile(
        "musl-gcc",
        "net",
        "-static",
        "-O2",
        "-Wall",
        "-Werror",
        join(filesDirectory, "net.c"),
      ),
      exitsPort: await compile("gcc", "exits-port", ...kernel),
      exitsMmio: await compile("gcc", "exits-mmio", ...kernel, "-DMMIO"),
      idle: await compile("gcc", "idle", ...kernel, "-DIDLE"),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function scriptEntries(): CpioEntry[] {
  const scripts = readdirSync(filesDirectory).filter((name) => name.endsWith(".sh") && name !== "guest.sh");
  return scripts.sort().map((name) => fileEntry(`bench/${name}`, benchFile(name)));
}

/** Names of the parts that the measuring host knows: "start", "disk" and so on. */
export function partNames(): string[] {
  return readdirSync(filesDirectory)
    .flatMap((name) => /^part-(.+)\.sh$/.exec(name)?.[1] ?? [])
    .sort();
}

/** Writes the archive to `path`. */
export async function writeBenchArchive(path: string): Promise<void> {
  const programs = await buildPrograms();
  const guest = await guestSystem(13, [
    programEntry("bench.sh", benchFile("guest.sh")),
    programEntry("net", programs.net),
  ]);
  const fioDisk = await rootDisk({
    name: "fio",
    sizeBytes: fioDiskBytes,
    tree: programTree("fio", "/usr/bin/fio"),
  });
  const ovmf = await ovmfFirmware("bookworm");
  writeFileSync(
    path,
    cpioArchive([
      ...qemuPeerEntries(),
      directoryEntry("bench"),
      programEntry("bench/busybox", readFileSync(await busyboxPath())),
      programEntry("bench/net", programs.net),
      ...scriptEntries(),
      fileEntry("bench/exits-port", programs.exitsPort),
      fileEntry("bench/exits-mmio", programs.exitsMmio),
      fileEntry("bench/idle", programs.idle),
      fileEntry("bench/kernel", readFileSync(guest.kernel)),
      fileEntry("bench/initramfs", readFileSync(guest.initramfs)),
      fileEntry("bench/fio.img", readFileSync(fioDisk)),
      fileEntry("bench/ovmf-code.fd", readFileSync(ovmf.codePath)),
      fileEntry("bench/ovmf-vars.fd", readFileSync(ovmf.varsPath)),
    ]),
  );
}
