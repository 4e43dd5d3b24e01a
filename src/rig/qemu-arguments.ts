/** The simulated server's hardware, as QEMU's command line. */
import type { Accelerator } from "./accelerator.ts";

/** The way of the product: flash with UEFI code (read-only), and below it what is written: variables, banks. */
export interface FlashSource {
  readonly kind: "flash";
  readonly code: string;
  readonly variables: string;
}

/** What the machine is started from. */
export type BootSource =
  | FlashSource
  /** For tests that need their own program beside the host's: the image's kernel with one more initramfs. */
  | {
      readonly kind: "direct";
      readonly kernel: string;
      readonly initrd?: string;
      readonly commandLine?: string;
    };

export type NicModel = "virtio-net-pci" | "e1000e" | "igb";

export interface Hardware {
  readonly boot: BootSource;
  readonly accelerator: Accelerator;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly nic: NicModel;
  /** Loopback TCP port of this machine that leads to the server's port 80. */
  readonly apiPort: number;
  /** File descriptor of the connected QMP socket in the QEMU process. */
  readonly qmpDescriptor: number;
  /** File descriptor of a connected socket that is the second serial port; absent: there is none. */
  readonly secondSerialDescriptor?: number;
  /** QEMU's arguments for what else the machine has. */
  readonly more?: readonly string[];
}

/** Features of the model that TCG cannot do: asking for them only makes QEMU print a warning each. */
const notInTcg = [
  "rdseed",
  "sha-ni",
  "fxsr-opt",
  "misalignsse",
  "3dnowprefetch",
  "osvw",
  "topoext",
  "nrip-save",
  "xsavec",
];

/**
 * TCG runs XSETBV of a nested guest without telling the hypervisor in the server, whose KVM then has a wrong idea of the
 * guest's XCR0 (a guest with AVX complains of an "XSAVE consistency problem"). Without XSAVE there is no XCR0 to lose.
 */
const wrongInTcg = ["xsave", "xsaveopt", "xgetbv1", "avx", "avx2", "fma", "f16c"];

/** EPYC is the model for its SVM leaf, which KVM in the server needs. */
const tcgCpu = ["EPYC,+svm,+npt", ...[...notInTcg, ...wrongInTcg].map((feature) => `-${feature}`)].join(",");

/** As much as fits below 4 GiB. QEMU itself allows half of it. */
const FLASH_BYTES_MAX = 16 * 1024 * 1024;

function bootArguments(boot: BootSource): string[] {
  if (boot.kind === "flash") {
    return [
      ...["-machine", `max-fw-size=${FLASH_BYTES_MAX}`],
      ...["-drive", `if=pflash,unit=0,format=raw,readonly=on,file=${boot.code}`],
      ...["-drive", `if=pflash,unit=1,format=raw,file=${boot.variables}`],
    ];
  }
  return [
    ...["-kernel", boot.kernel],
    ...(boot.initrd === undefined ? [] : ["-initrd", boot.initrd]),
    ...(boot.commandLine === undefined ? [] : ["-append", boot.commandLine]),
  ];
}

/** QEMU's arguments: a q35 machine without drives unless `more` has some, one NIC, the first serial port on standard input and output. */
export function qemuArguments(hardware: Hardware): string[] {
  const accelerator =
    hardware.accelerator === "kvm"
      ? ["-accel", "kvm", "-cpu", "host"]
      : ["-accel", "tcg,thread=multi", "-cpu", tcgCpu];
  const secondSerial = hardware.secondSerialDescriptor;
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    ...["-machine", "q35", ...accelerator],
    ...["-smp", String(hardware.cpus), "-m", `${hardware.memoryBytes / (1024 * 1024)}M`],
    ...["-serial", "stdio"],
    ...(secondSerial === undefined
      ? []
      : ["-chardev", `socket,id=serial1,fd=${secondSerial}`, "-serial", "chardev:serial1"]),
    ...["-chardev", `socket,id=qmp,fd=${hardware.qmpDescriptor}`, "-mon", "chardev=qmp,mode=control"],
    ...["-netdev", `user,id=net0,hostfwd=tcp:127.0.0.1:${hardware.apiPort}-:80`],
    // No option ROM: the server boots from its flash and nothing else.
    ...["-device", `${hardware.nic},netdev=net0,romfile=`],
    ...bootArguments(hardware.boot),
    ...(hardware.more ?? []),
  ];
}
