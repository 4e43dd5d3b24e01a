/** What a VMM process costs, from /proc (proc(5)). */
import type { Files } from "../platform/platform.ts";

export interface ProcessMemory {
  readonly pssBytes: number;
  /** Resident part of the guest's memory. */
  readonly guestResidentBytes: number;
  /** How much of that is in huge pages, and how much in pages that KSM has merged. */
  readonly guestHugeBytes: number;
  readonly guestMergedBytes: number;
  /** PSS of everything but the guest's memory. */
  readonly overheadBytes: number;
}

/** How the VMM names the mappings that are the guest's memory. */
const GUEST_MEMORY = "[anon:guest-ram";
/** sysconf(_SC_CLK_TCK) on every Linux. */
const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_SIZE = 4096;

/** Sums up /proc/PID/smaps. */
export function parseSmaps(text: string): ProcessMemory {
  let pss = 0;
  const guest = { Rss: 0, Pss: 0, AnonHugePages: 0, KSM: 0 };
  let inGuestMemory = false;
  for (const line of text.split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) {
      inGuestMemory = line.includes(GUEST_MEMORY);
      continue;
    }
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (!(name in guest)) continue;
    const bytes = Number.parseInt(line.slice(colon + 1), 10) * 1024;
    if (name === "Pss") pss += bytes;
    if (inGuestMemory) guest[name as keyof typeof guest] += bytes;
  }
  return {
    pssBytes: pss,
    guestResidentBytes: guest.Rss,
    guestHugeBytes: guest.AnonHugePages,
    guestMergedBytes: guest.KSM,
    overheadBytes: pss - guest.Pss,
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

/**
 * Memory that a VMM has to itself, the guest's included; pages that KSM has merged are not, as writing to one takes
 * another. 0 when the process is gone. Cheap.
 */
export function ownResidentBytes(files: Pick<Files, "readText">, pid: number): number {
  try {
    const kib = /^RssAnon:\s*(\d+) kB$/m.exec(files.readText(`/proc/${pid}/status`));
    return Number(kib?.[1] ?? 0) * 1024 - mergedBytes(files, pid);
  } catch {
    return 0;
  }
}

function mergedBytes(files: Pick<Files, "readText">, pid: number): number {
  try {
    return Number(files.readText(`/proc/${pid}/ksm_merging_pages`)) * PAGE_SIZE;
  } catch {
    return 0; // a kernel without KSM
  }
}
