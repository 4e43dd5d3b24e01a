/**
 * How the CPUs of a VM are grouped: sockets of cores of threads. A CPU's APIC id is its index, and software cuts the id
 * into thread, core and socket by bit widths (Intel SDM vol. 3A, "Hierarchical Mapping of Shared Resources"), so the
 * groups inside others must be powers of two.
 */

/** The models of CPUs by name: what a VM's `cpu.model` may be. */
export const CPU_MODELS = ["host", "x86-64-v2", "x86-64-v3", "x86-64-v4"] as const;
export type CpuModel = (typeof CPU_MODELS)[number];

export interface CpuTopology {
  readonly sockets: number;
  /** In a socket. */
  readonly cores: number;
  /** In a core. */
  readonly threads: number;
}

/** What is not said is one socket, one thread a core, and as many cores as it takes. */
export function cpuTopology(cpus: number, wish: Partial<CpuTopology> = {}): CpuTopology {
  const { sockets = 1, threads = 1 } = wish;
  return { sockets, cores: wish.cores ?? cpus / (sockets * threads), threads };
}

/** Why a VM with `cpus` CPUs cannot have this topology, to follow the field's name, or null. */
export function topologyProblem(cpus: number, wish: Partial<CpuTopology>): string | null {
  const { sockets, cores, threads } = cpuTopology(cpus, wish);
  if (!Number.isInteger(cores) || sockets * cores * threads !== cpus) {
    const product = `${sockets} × ${wish.cores ?? "cores"} × ${threads}`;
    return `must have sockets × cores × threads (${product}) equal to cpus (${cpus})`;
  }
  if (sockets * cores > 1 && !isPowerOfTwo(threads)) {
    return "must have a power of two as threads when there are several cores";
  }
  if (sockets > 1 && !isPowerOfTwo(cores * threads)) {
    return "must have a power of two as cores × threads when there are several sockets";
  }
  return null;
}

function isPowerOfTwo(value: number): boolean {
  return 2 ** Math.floor(Math.log2(value)) === value;
}
