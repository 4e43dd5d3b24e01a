/** A build's progress on standard error: one line per finished step, on a terminal the running one as well. */
import type { BuildProgress } from "./steps.ts";

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

export function showProgress(progress: BuildProgress): void {
  const live = process.stderr.isTTY === true;
  if (progress.state === "running") {
    if (!live) return;
    const detail = progress.detail === undefined ? "" : `  ${progress.detail}`;
    const line = `  … ${progress.step}  ${seconds(progress.elapsedMs)} of about ${seconds(progress.estimateMs)}${detail}`;
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    return;
  }
  const took = progress.state === "unchanged" ? "unchanged" : seconds(progress.elapsedMs);
  process.stderr.write(`${live ? "\r\x1b[K" : ""}  ✓ ${progress.step}  ${took}\n`);
}
