/** What a guest's kernel complains about, less what it complains about under every VMM. */

/**
 * Messages of level "warning" and worse that are not the machine's fault. Each is there because the same kernel
 * prints it on QEMU or kvmtool on the same kind of CPU, or by the kernel's own decision; the reason is beside it.
 */
const expected: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  {
    pattern: /Speculative Return Stack Overflow|srso|IBPB-extending microcode/,
    reason: "the emulated EPYC has no microcode for the mitigation; the same on QEMU with this CPU model",
  },
  {
    pattern: /Unstable clock detected|trace_clock|keep using the local clock|on the kernel command line/,
    reason: "TSC of a nested, emulated CPU is not invariant; the same on QEMU",
  },
  {
    pattern: /clocksource: Long readout interval, skipping watchdog check/,
    reason:
      "an emulated CPU that shares its core with others is late for a timer; the kernel skips the check",
  },
  {
    pattern: /hrtimer: interrupt took \d+ ns/,
    reason: "the same late CPU, as the timer interrupt finds it",
  },
  {
    pattern: /MDS CPU bug|MMIO Stale Data|TAA CPU bug|Spectre V2|RETBleed|Transient Scheduler|VMSCAPE/,
    reason: "describes the CPU that the host shows, not the VMM",
  },
  {
    pattern: /loading out-of-tree module|module verification failed|module: x86\/modules: Skipping/,
    reason: "modules are loaded by hand from the package",
  },
];

/** Lines of `dmesg -r` with level 0 to 4 that are not expected. */
export function unexpectedComplaints(rawKernelLog: string): string[] {
  return rawKernelLog.split("\n").filter((line) => {
    const level = /^<(\d+)>/.exec(line)?.[1];
    if (level === undefined || (Number(level) & 7) > 4) return false;
    return !expected.some(({ pattern }) => pattern.test(line));
  });
}

/** The command whose output `unexpectedComplaints` takes; the console need not carry the rest. */
export const complaintsCommand = "dmesg -r | grep '^<[0-4]>' || true";

/** Bytes of the usable ranges that the firmware's memory map names in a kernel log. */
export function usableMemoryBytes(kernelLog: string): number {
  let total = 0;
  for (const [, from, to] of kernelLog.matchAll(/BIOS-e820: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] usable/g)) {
    total += Number.parseInt(to as string, 16) - Number.parseInt(from as string, 16) + 1;
  }
  return total;
}

/** Words of a kernel that finds something wrong, or works around it. */
const complaintWords =
  /\b(bug|warn\w*|error|err|fail\w*|invalid|unable|can't|cannot|could not|conflict\w*|mismatch\w*|quirk\w*|broken|bogus|missing|not (found|supported|responding|reserved|claimed)|unknown|unexpected|wrong|bad|disabl\w+|unstable|ignor\w+|overlap\w*|no (space|compatible)|timed out|inconsistent)\b/i;
const machineWords =
  /\b(acpi|pci\w*|pnp|e820|efi|apic|lapic|ioapic|x2apic|irq|tsc|hpet|rtc\w*|pit|timer|clocksource|clockevents?|sched_clock|kvm-clock|mtrr|pat|smbios|dmi|i8042|serial|mcfg|ecam|mce)\b/i;

/** A line without what differs from boot to boot: level, time, numbers, slots, names of interrupts. */
function normalised(line: string): string {
  return line
    .replace(/^<\d+>\[[^\]]*\] ?/, "")
    .replace(/0x[0-9a-f]+|\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d\b|\b[0-9a-f]{8,}\b|\d+/gi, "#")
    .trim();
}

/**
 * Complaints about the machine in a log (`dmesg -r`) that another log does not have: lines of level warning and worse,
 * and lines of any level that speak of ACPI, PCI, timers and the like in words of trouble.
 */
export function complaintsOnlyIn(rawKernelLog: string, otherRawKernelLog: string): string[] {
  const known = new Set(otherRawKernelLog.split("\n").map(normalised));
  return rawKernelLog.split("\n").filter((line) => {
    const level = /^<(\d+)>/.exec(line)?.[1];
    if (level === undefined || known.has(normalised(line))) return false;
    return (Number(level) & 7) <= 4 || (complaintWords.test(line) && machineWords.test(line));
  });
}
