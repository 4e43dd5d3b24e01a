/**
 * The control protocol between a VMM and the host agent: types only.
 *
 * A stream socket on which the VMM listens; both sides send one JSON object a line. Several clients may be
 * connected. A guest reset executes the VMM anew (same process id), which closes the connections; clients connect again.
 */
import type { DiskLimits } from "./config.ts";
import type { BalloonStatus } from "./virtio/balloon/status.ts";

export type ControlRequest = { readonly id: number } & ControlCall;

export type ControlCall =
  | { readonly op: "status" }
  /** Presses the ACPI power button. */
  | { readonly op: "powerButton" }
  /** Resets the machine at once. */
  | { readonly op: "reset" }
  /** Ends the VMM at once, without asking the guest. */
  | { readonly op: "stop" }
  /** Keeps the guest from running. */
  | { readonly op: "pause" }
  /** Lets it go on; disks that wait (for space) try again at once. */
  | { readonly op: "resume" }
  /**
   * Types at the machine's keyboard, chord after chord; answered when they are taken, not when they are typed. Fails with
   * `no_graphics`, or with `keys_busy` when too much waits to be typed. At most CHORDS_MAX chords.
   */
  | { readonly op: "sendKeys"; readonly chords: readonly Chord[] }
  /** Sets how much memory the balloon is to take from the guest, from 0 to all of it; the guest follows as it can. */
  | { readonly op: "balloon"; readonly targetBytes: number }
  /** Sets what the disk with this number may do from now on; what is absent is not limited. Fails with `no_such_disk`. */
  | { readonly op: "limitDisk"; readonly index: number; readonly limits: DiskLimits };

/** Keys pressed together, in this order: KEY_* of Linux's input-event-codes.h from 1 to 127, at most CHORD_KEYS_MAX. */
export type Chord = readonly number[];

export interface VmmStatus {
  readonly state: "starting" | "running" | "stopping";
  readonly pid: number;
  /** How often the machine has been reset since the VMM was started. */
  readonly resets: number;
  readonly exits: number;
  readonly balloon: BalloonStatus;
  /** Why the machine is paused, for people; null while it runs. */
  readonly paused: string | null;
}

export type ControlReply =
  | { readonly id: number; readonly ok: true; readonly result: VmmStatus | null }
  | { readonly id: number; readonly ok: false; readonly code: string; readonly message: string };

/** Sent to every client without being asked. */
export type ControlEvent =
  | { readonly event: "running" }
  | { readonly event: "reset" }
  /** The machine was paused, for the first or another reason; null: it goes on. */
  | { readonly event: "paused"; readonly reason: string | null }
  /** The last message before the process ends. */
  | { readonly event: "end"; readonly cause: VmmEndCause; readonly message: string };

export type VmmEndCause = "guest-power-off" | "stopped" | "failed";
