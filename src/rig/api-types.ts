/** The host's API as a client sees it: docs/api.md in types. */

export interface Host {
  readonly name: string;
  readonly version: string;
  readonly kernel: string;
  readonly uptimeMs: number;
  /** Kernel start to API ready. */
  readonly bootMs: number;
  readonly addresses: readonly { readonly interface: string; readonly address: string }[];
  readonly cpus: { readonly count: number; readonly model: string };
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  readonly accelerator: string;
}

export interface Image {
  readonly name: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly createdAt: string;
  readonly format: "raw" | "qcow2" | "vmdk" | "unknown";
  readonly virtualSizeBytes: number;
  readonly backing?: string;
}

export interface NetworkRate {
  readonly bytesPerSecond: number;
  readonly burstBytes?: number;
}

export interface DiskLimits {
  readonly bytesPerSecond?: number;
  readonly operationsPerSecond?: number;
}

export interface NetworkLimits {
  readonly receive?: NetworkRate;
  readonly transmit?: NetworkRate;
}

export interface VmSpec {
  readonly name: string;
  readonly cpus: number;
  readonly cpu?: {
    readonly model?: string;
    readonly disable?: readonly string[];
    readonly sockets?: number;
    readonly cores?: number;
    readonly threads?: number;
  };
  readonly memoryBytes: number;
  readonly memory?: {
    readonly hugePages?: boolean;
    readonly mergeable?: boolean;
    readonly freePageReporting?: boolean;
    readonly balloonTargetBytes?: number;
    readonly statisticsSeconds?: number;
  };
  readonly boot:
    | { readonly kernel: string; readonly initrd?: string; readonly commandLine?: string }
    | {
        readonly firmware: string;
        readonly variables: string;
        readonly bootOrder?: readonly string[];
        readonly kernel?: string;
        readonly initrd?: string;
        readonly commandLine?: string;
      };
  readonly disks?: readonly {
    readonly image: string;
    readonly readOnly?: boolean;
    readonly cache?: "cached" | "direct";
    readonly onError?: "report" | "pause";
    readonly queues?: number;
    readonly limits?: DiskLimits;
  }[];
  readonly cdroms?: readonly { readonly image?: string }[];
  readonly graphics?: boolean;
  readonly networks?: readonly {
    readonly mac?: string;
    readonly vhost?: boolean;
    readonly queues?: number;
    readonly limits?: NetworkLimits;
  }[];
  readonly vsock?: { readonly cid?: number };
}

export type VmState = "stopped" | "starting" | "running" | "paused" | "stopping";

export interface Vm extends VmSpec {
  readonly id: string;
  readonly state: VmState;
  readonly pauseReason?: string;
  readonly pid?: number;
  readonly guestAgent?: {
    readonly connected: boolean;
    readonly frozen?: true;
    readonly version?: string;
    readonly hostName?: string;
    readonly osName?: string;
    readonly addresses?: readonly { readonly interface: string; readonly address: string }[];
  };
  readonly createdAt: string;
  readonly lastEnd?: { readonly cause: string; readonly message: string; readonly at: string };
}

export interface VmStatistics {
  readonly pssBytes: number;
  readonly guestResidentBytes: number;
  readonly guestHugeBytes: number;
  readonly guestMergedBytes: number;
  /** PSS less guest memory. */
  readonly overheadBytes: number;
  readonly cpuMs: number;
  readonly exits: number;
  readonly resets: number;
  readonly balloon?: {
    readonly hasDriver: boolean;
    readonly targetBytes: number;
    readonly actualBytes: number;
    readonly releasedBytes: number;
    /** By name, as far as the guest's driver tells them. */
    readonly statistics?: { readonly [name: string]: number; readonly ageMs: number };
  };
}

export interface ApiErrorBody {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
}

export interface Task {
  readonly id: string;
  readonly kind: string;
  readonly object: { readonly kind: string; readonly id: string };
  readonly state: "running" | "succeeded" | "failed";
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly error?: ApiErrorBody;
  readonly progressPercent?: number;
  readonly result?: object;
}

export interface HostEvent {
  readonly seq: number;
  readonly at: string;
  readonly kind: string;
  readonly object: { readonly kind: string; readonly id: string };
  readonly message: string;
  readonly cause?: string;
}

export type VmAction = "start" | "shutdown" | "pause" | "resume" | "reset" | "force-off";
