/**
 * The states of a VM and what leads from one to another.
 *
 *   stopped --start--> starting --running--> running --shutdown--> shuttingDown
 *   shuttingDown --giveUp--> running                  (the guest did not follow; it goes on)
 *   starting, running, shuttingDown --forceOff--> forcingOff
 *   every state but stopped --ended--> stopped
 */

export type VmPhase = "stopped" | "starting" | "running" | "shuttingDown" | "forcingOff";
export type VmTransition = "start" | "running" | "shutdown" | "giveUp" | "forceOff" | "ended";

const ARROWS: Readonly<Record<VmPhase, Partial<Readonly<Record<VmTransition, VmPhase>>>>> = {
  stopped: { start: "starting" },
  starting: { running: "running", forceOff: "forcingOff", ended: "stopped" },
  running: { shutdown: "shuttingDown", forceOff: "forcingOff", ended: "stopped" },
  shuttingDown: { giveUp: "running", forceOff: "forcingOff", ended: "stopped" },
  forcingOff: { ended: "stopped" },
};

/** The phase that follows; null when the transition is not allowed in this phase. */
export function nextPhase(phase: VmPhase, transition: VmTransition): VmPhase | null {
  return ARROWS[phase][transition] ?? null;
}

/** The state as the API shows it. */
export function apiState(
  phase: VmPhase,
  isPaused = false,
): "stopped" | "starting" | "running" | "paused" | "stopping" {
  if (phase === "running" && isPaused) return "paused";
  return phase === "shuttingDown" || phase === "forcingOff" ? "stopping" : phase;
}
