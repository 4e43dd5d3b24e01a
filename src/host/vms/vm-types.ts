/** What VMs share, and how the API shows one. */
import type { VmmStatus } from "../../vmm/control.ts";
import type { EventLog } from "../events/events.ts";
import type { GuestAgentView } from "../guest-agent/guest-agent.ts";
import type { Platform } from "../platform/platform.ts";
import type { ImageStore } from "../storage/images.ts";
import type { TaskList } from "../tasks/tasks.ts";
import type { RunningVm } from "./admission.ts";
import type { HostNetwork } from "./host-network.ts";
import type { apiState } from "./life-cycle.ts";
import type { PageMerging } from "./page-merging.ts";
import type { VmRecord, VmSpec } from "./spec.ts";
import type { ProcessMemory } from "./statistics.ts";
import type { VmStore } from "./store.ts";

/** What all VMs share. */
export interface VmEnvironment {
  readonly platform: Platform;
  readonly tasks: TaskList;
  readonly events: EventLog;
  readonly images: ImageStore;
  readonly network: HostNetwork;
  readonly store: VmStore;
  readonly merging: PageMerging;
  /** Where run directories are made. */
  readonly runPath: string;
  /** Program and first arguments of a VMM; `--config FILE` is added. */
  readonly vmmCommand: readonly string[];
  /** All VMs that are not stopped. */
  running(): RunningVm[];
  availableMemory(): number;
}

/** A VM as the API shows it. */
export type VmView = VmSpec & {
  readonly id: string;
  readonly state: ReturnType<typeof apiState>;
  /** Why it is paused, for people. */
  readonly pauseReason?: string;
  readonly pid?: number;
  /** What the guest's agent says; absent while the VM is off. */
  readonly guestAgent?: GuestAgentView;
  readonly createdAt: string;
  readonly lastEnd?: VmRecord["lastEnd"];
};

export interface VmStatistics extends ProcessMemory {
  readonly cpuMs: number;
  readonly exits: number;
  readonly resets: number;
  readonly balloon?: VmmStatus["balloon"];
}

/** How a guest is told to power off. */
export type ShutdownMode = "agent" | "acpi";
