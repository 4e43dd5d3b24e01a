/**
 * Which accelerator the simulated server gets: KVM where KVM inside KVM really works, otherwise TCG, which emulates
 * a CPU with SVM.
 *
 * The existence of /dev/kvm says little: it may be of another make, closed to us, or without nesting. What decides is
 * a short probe: the image's own kernel, started under KVM, must find a usable /dev/kvm of its own.
 */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";

export type Accelerator = "kvm" | "tcg";

/** Whether the cheap signs speak for nested KVM; only then is a probe worth its time. */
export function nestedKvmIsLikely(): boolean {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  return ["kvm_amd", "kvm_intel"].some((module) => {
    const parameter = `/sys/module/${module}/parameters/nested`;
    return existsSync(parameter) && /^[1Y]/.test(readFileSync(parameter, "utf8"));
  });
}

/**
 * Chooses the accelerator. `probe` boots a server under KVM and says whether KVM works inside; it is called only where
 * that is likely, and its failure means TCG. `THIMBLE_ACCELERATOR=kvm|tcg` decides without a probe.
 */
export async function chooseAccelerator(probe: () => Promise<boolean>): Promise<Accelerator> {
  const forced = process.env.THIMBLE_ACCELERATOR;
  if (forced === "kvm" || forced === "tcg") return forced;
  if (!nestedKvmIsLikely()) return "tcg";
  try {
    return (await probe()) ? "kvm" : "tcg";
  } catch {
    return "tcg";
  }
}
