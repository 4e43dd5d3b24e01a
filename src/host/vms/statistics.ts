/** What a VMM process costs, from /proc (proc(5)). */
import type { Files } from "../platform/platform.ts";

export interface ProcessMemory {
  readonly pssBytes: number;
  /** Resident part of the guest's memory. */
  readonly guestResidentBytes: number;
  /** PSS of everything but the guest's memory. */
  readonly overheadBytes: number;
}

/** How the VMM names the memfd that is the guest's memory. */
const GUEST_MEMORY = "memfd:guest-ram";
/** sysconf(_SC_CLK_TCK) on every Linux. */
const CLOCK_TICKS_PER_SECOND = 100;

/** Sums up /proc/PID/smaps. */
export function parseSmaps(text: string): ProcessMemory {
  let pssKiB = 0;
  let guestKiB = 0;
  let guestPssKiB = 0;
  let inGuestMemory = false;
  for (const line of text.split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) {
      inGuestMemory = line.includes(GUEST_MEMORY);
      continue;
    }
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (name !== "Pss" && name !== "Rss") continue;
    const kib = Number.parseInt(line.slice(colon + 1), 10);
    if (name === "Pss") {
      pssKiB += kib;
      if (inGuestMemory) guestPssKiB += kib;
    } else if (inGuestMemory) {
      guestKiB += kib;
    }
  }
  return {
    pssBytes: pssKiB * 1024,
    guestResidentBytes: guestKiB * 1024,
    overheadBytes: (pssKiB - guestPssKiB) * 1024,
  };
}

/** Fields of /proc/PID/stat after the program's name, which may hold spaces and parentheses. */
function statFields(files: Pick<Files, "readText">, pid: number): string[] {
  const text = files.readText(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** User and system time of all threads. Throws SystemError when there is no such process. */
export function cpuTimeMs(files: Pick<Files, "readText">, pid: number): number {
  const fields = statFields(files, pid);
  // utime and stime are fields 14 and 15, counted from 1 with pid and name before the first here.
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / CLOCK_TICKS_PER_SECOND;
}

/** When a process began, in clock ticks since power-on: with its id this names it for good; null when there is none. */
export function startTicks(files: Pick<Files, "readText">, pid: number): number | null {
  try {
    return Number(statFields(files, pid)[19]);
  } catch {
    return null;
  }
}

/** How much of its shared memory, which is the guest's, a VMM has in RAM; 0 when the process is gone. Cheap. */
export function sharedResidentBytes(files: Pick<Files, "readText">, pid: number): number {
  try {
    const line = /^RssShmem:\s*(\d+) kB$/m.exec(files.readText(`/proc/${pid}/status`));
    return Number(line?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
