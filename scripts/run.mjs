#!/usr/bin/env node
// The door to every command: `node scripts/run.mjs start|test|unit|test-long|build|size|bench|bench-micro|bench-boot|fuzz [arguments]`.
//
// Plain Node, no dependencies, because it runs on a machine that has nothing but Node: it brings npm packages and
// Debian packages up to what package-lock.json and debian-packages.json name, then hands over to TypeScript.
// It never asks anything and never reads the terminal.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const minimumNodeMajor = 20;

const commands = {
  start: ["src/rig/start.ts"],
  test: ["src/rig/test-run.ts", "all"],
  unit: ["src/rig/test-run.ts", "unit"],
  e2e: ["src/rig/test-run.ts", "e2e"],
  "test-long": ["src/rig/test-run.ts", "long"],
  build: ["src/rig/build.ts"],
  size: ["src/image/size.ts"],
  bench: ["bench/run.ts"],
  "bench-micro": ["bench/micro/run.ts"],
  "bench-boot": ["bench/boot/run.ts"],
  fuzz: ["test/fuzz/run.ts"],
};

function fail(message) {
  process.stderr.write(`thimble: ${message}\n`);
  process.exit(1);
}

/** Runs a command with its output on our standard error, so that standard output stays the command's own. */
function run(command, args, environment = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, ...environment },
  });
  return result.error === undefined && result.status === 0;
}

function checkNode() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < minimumNodeMajor) {
    fail(`Node ${process.versions.node} is too old: Node ${minimumNodeMajor} or newer is needed.`);
  }
}

/** npm writes node_modules/.package-lock.json last, so its time tells whether the installation is complete and current. */
function ensureNpmPackages() {
  const installed = join(root, "node_modules/.package-lock.json");
  const wanted = join(root, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  process.stderr.write("thimble: installing npm packages\n");
  if (!run("npm", ["ci", "--no-audit", "--no-fund"])) {
    fail('installing npm packages failed: see the output of "npm ci" above.');
  }
}

function isInstalled(name) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the format is dpkg's, not a template.
  const query = spawnSync("dpkg-query", ["-W", "-f", "${db:Status-Status}", name], { encoding: "utf8" });
  if (query.error !== undefined) {
    fail("dpkg-query was not found: Thimble is built and tested on Debian 12 or 13.");
  }
  return query.status === 0 && query.stdout.trim() === "installed";
}

function ensureDebianPackages() {
  const lists = JSON.parse(readFileSync(join(root, "scripts/debian-packages.json"), "utf8"));
  const wanted = [...new Set(Object.values(lists).flat())].sort();
  const missing = wanted.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;

  const install = ["install", "-y", "--no-install-recommends", ...missing];
  const asRoot = process.getuid?.() === 0;
  if (!asRoot && !run("sudo", ["-n", "true"])) {
    fail(
      `these Debian packages are missing and there is no way to become root without a password. Run:\n` +
        `  sudo apt-get ${install.join(" ")}`,
    );
  }
  process.stderr.write(`thimble: installing Debian packages: ${missing.join(" ")}\n`);
  const quiet = { DEBIAN_FRONTEND: "noninteractive" };
  const apt = (args) =>
    asRoot
      ? run("apt-get", ["-q", "-o", "DPkg::Lock::Timeout=300", ...args], quiet)
      : run("sudo", [
          "-n",
          "DEBIAN_FRONTEND=noninteractive",
          "apt-get",
          "-q",
          "-o",
          "DPkg::Lock::Timeout=300",
          ...args,
        ]);
  // The package lists of a fresh machine are missing or old; on failure of the update, the install says what is wrong.
  apt(["update"]);
  if (!apt(install)) {
    fail(
      `installing Debian packages failed. Run this and see what it says:\n  sudo apt-get ${install.join(" ")}`,
    );
  }
}

/** Runs the TypeScript entry as a child, passes signals on and ends the way it ended. */
function handOver([entry, ...fixed], args) {
  const child = spawn(process.execPath, ["--import", "tsx", entry, ...fixed, ...args], {
    cwd: root,
    stdio: "inherit",
  });
  // A terminal sends Ctrl-C to the whole process group: the child has it already and decides what it means.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`${entry} did not start: ${error.message}`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

const [name, ...args] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) {
  fail(`"${name ?? ""}" is not a command. Commands: ${Object.keys(commands).join(", ")}.`);
}
checkNode();
ensureNpmPackages();
ensureDebianPackages();
handOver(command, args);
