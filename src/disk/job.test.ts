import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { SeededRandom, testSeed } from "../base/random.ts";
import { type ImageJob, type OpenJobFile, runJob } from "./job.ts";
import { Qcow2Image } from "./qcow2/image.ts";
import { NodeFile } from "./testing/node-file.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

describe("image jobs", () => {
  const directory = mkdtempSync(join(tmpdir(), "thimble-jobs-"));
  after(() => rmSync(directory, { recursive: true }));
  const at = (name: string) => join(directory, name);
  const qemu = (...args: string[]) => execFileSync("qemu-img", args, { cwd: directory, encoding: "utf8" });
  const open: OpenJobFile = (path, mode) =>
    new NodeFile(path, mode === "read" ? "r" : mode === "write" ? "r+" : "wx+");
  const run = (job: ImageJob) => runJob(job, open, () => {});

  function disk(random: SeededRandom, sizeBytes: number): Buffer {
    const out = Buffer.alloc(sizeBytes);
    for (let i = 0; i < 10; i++) {
      const start = random.below(sizeBytes);
      random.fill(out.subarray(start, Math.min(sizeBytes, start + random.below(150 * KiB))));
    }
    return out;
  }

  test("every format becomes every other, and qemu-img finds no difference", () => {
    const seed = testSeed();
    const content = disk(new SeededRandom(seed), 3 * MiB + 512);
    writeFileSync(at("source.raw"), content);
    const sources = [
      { format: "raw", name: "source.raw" },
      { format: "qcow2", name: "plain.qcow2", options: [] },
      { format: "qcow2", name: "packed.qcow2", options: ["-c"] },
      { format: "qcow2", name: "old.qcow2", options: ["-o", "compat=0.10,cluster_size=4096"] },
      { format: "vmdk", name: "stream.vmdk", options: ["-o", "subformat=streamOptimized"] },
      { format: "vmdk", name: "sparse.vmdk", options: ["-o", "subformat=monolithicSparse"] },
    ] as const;
    for (const { format, name, ...rest } of sources) {
      if ("options" in rest) qemu("convert", "-f", "raw", "-O", format, ...rest.options, "source.raw", name);
      const facts = run({ op: "probe", path: at(name) });
      assert.deepEqual(facts, { format, virtualSizeBytes: content.length });
      for (const to of ["raw", "qcow2", "vmdk"] as const) {
        const target = `${name}.to.${to}`;
        const from = { path: at(name), format };
        run({ op: "convert", from, backing: [], to: at(target), format: to, contentId: 1 });
        if (to === "qcow2") qemu("check", target);
        qemu("compare", "-f", "raw", "-F", to, "source.raw", target);
      }
    }
  });

  test("an image is converted with what it is based on", () => {
    const random = new SeededRandom(testSeed());
    writeFileSync(at("base.raw"), disk(random, MiB));
    qemu("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2", String(2 * MiB));
    const { backing } = run({ op: "probe", path: at("top.qcow2") }) as { backing?: object };
    assert.deepEqual(backing, { name: "base.raw", format: "raw" });
    run({
      op: "convert",
      from: { path: at("top.qcow2"), format: "qcow2" },
      backing: [{ path: at("base.raw"), format: "raw" }],
      to: at("flat.raw"),
      format: "raw",
      contentId: 1,
    });
    qemu("compare", "-f", "qcow2", "-F", "raw", "top.qcow2", "flat.raw");
  });

  test("an image made with a backing file is what qemu-img makes of it", () => {
    writeFileSync(at("below.raw"), disk(new SeededRandom(3), MiB));
    const backing = { name: "below.raw", format: "raw" } as const;
    run({ op: "create", path: at("made.qcow2"), sizeBytes: 4 * MiB, backing });
    qemu("check", "made.qcow2");
    assert.equal(JSON.parse(qemu("info", "--output=json", "made.qcow2"))["backing-filename"], "below.raw");
    qemu("rebase", "-b", "", "made.qcow2");
    assert.ok(Buffer.from(readFileSync(at("below.raw"))).length === MiB);
    qemu("convert", "-O", "raw", "made.qcow2", "made.raw");
    assert.ok(
      readFileSync(at("made.raw"))
        .subarray(0, MiB)
        .equals(readFileSync(at("below.raw"))),
    );
  });

  test("a disk grows, keeps what it has, and does not shrink", () => {
    for (const options of [
      ["-o", "cluster_size=512"],
      ["-o", "cluster_size=65536"],
      ["-o", "compat=0.10"],
    ]) {
      const content = disk(new SeededRandom(5), 2 * MiB);
      writeFileSync(at("small.raw"), content);
      qemu("convert", "-f", "raw", "-O", "qcow2", ...options, "small.raw", "grown.qcow2");
      const file = { path: at("grown.qcow2"), format: "qcow2" } as const;
      // With clusters of 512 bytes the L1 table has to move; it grows by clusters that the counts do not cover yet.
      for (const sizeBytes of [2 * MiB, 64 * MiB, 1024 * MiB]) {
        run({ op: "resize", file, sizeBytes });
        qemu("check", "grown.qcow2");
        assert.equal(JSON.parse(qemu("info", "--output=json", "grown.qcow2"))["virtual-size"], sizeBytes);
      }
      const image = new Qcow2Image(new NodeFile(file.path, "r+"));
      const back = Buffer.alloc(2 * MiB);
      image.readAt(0, back);
      assert.ok(back.equals(content));
      image.writeAt(1000 * MiB, Buffer.from("far"));
      image.close();
      qemu("check", "grown.qcow2");
      assert.throws(() => run({ op: "resize", file, sizeBytes: MiB }), { code: "bad_size" });
    }
    const raw = { path: at("small.raw"), format: "raw" } as const;
    run({ op: "resize", file: raw, sizeBytes: 3 * MiB });
    assert.equal(readFileSync(raw.path).length, 3 * MiB);
    assert.throws(() => run({ op: "resize", file: raw, sizeBytes: MiB }), { code: "bad_size" });
  });

  test("a check finds what is leaked or counted too low, and repairs it", () => {
    qemu("create", "-f", "qcow2", "broken.qcow2", String(4 * MiB));
    const file = { path: at("broken.qcow2"), format: "qcow2" } as const;
    const image = new Qcow2Image(new NodeFile(file.path, "r+"));
    image.writeAt(0, new Uint8Array(256 * KiB).fill(1));
    image.close();
    assert.deepEqual(run({ op: "check", file, repair: false }), { leaks: 0, errors: 0 });
    // The first block of counts of 16 bits is cluster 2: one that is used loses its count, one that is not gets one.
    const raw = new NodeFile(file.path, "r+");
    raw.writeAt(2 * 65536 + 2 * 5, Uint8Array.of(0, 0));
    raw.writeAt(2 * 65536 + 2 * 20, Uint8Array.of(0, 1));
    raw.truncate(40 * 65536);
    raw.close();
    assert.deepEqual(run({ op: "check", file, repair: true }), { leaks: 1, errors: 1 });
    assert.deepEqual(run({ op: "check", file, repair: false }), { leaks: 0, errors: 0 });
    qemu("check", "broken.qcow2");
  });
});
