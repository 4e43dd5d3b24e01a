/** What a person at the console sees when PID 1 itself fails: what happened and what comes, instead of a silent stop. */

const WIDTH = 78;
const STACK_LINES_MAX = 8;

/** Breaks a line into pieces that fit the frame. */
function wrap(line: string, width: number): string[] {
  if (line.length <= width) return [line];
  const pieces: string[] = [];
  for (let at = 0; at < line.length; at += width) pieces.push(line.slice(at, at + width));
  return pieces;
}

/** The framed text, for a terminal of 80 columns. */
export function panicScreen(version: string, error: unknown, restartSeconds: number): string {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const inner = WIDTH - 4;
  const lines = [
    `THIMBLE ${version} STOPPED`,
    "",
    ...message.split("\n").flatMap((line) => wrap(line, inner)),
    "",
    ...stack
      .split("\n")
      .filter(Boolean)
      .slice(0, STACK_LINES_MAX)
      .flatMap((line) => wrap(line.trim(), inner)),
    "",
    "The host's first process failed, so its virtual machines are not managed any more.",
    `The host restarts in ${restartSeconds} seconds. If this returns, note the lines above and restore the`,
    "previous boot bank, or report them to the vendor.",
  ].flatMap((line) => wrap(line, inner));
  const edge = `+${"-".repeat(WIDTH - 2)}+`;
  const framed = lines.map((line) => `| ${line.padEnd(inner)} |`);
  return `\r\n${[edge, ...framed, edge].join("\r\n")}\r\n`;
}
