/** The bearer token that every call must carry, until there are users. */
import type { Platform } from "../platform/platform.ts";

const TOKEN_BYTES = 32;
const TOKEN = /^[0-9a-f]{64}$/;

/** The host's token: made at first boot, the same for an agent that is restarted. `fresh` tells which. */
export function loadToken(
  platform: Pick<Platform, "files" | "randomHex">,
  path: string,
): { readonly token: string; readonly fresh: boolean } {
  if (platform.files.tryStat(path) !== null) {
    const token = platform.files.readText(path).trim();
    if (TOKEN.test(token)) return { token, fresh: false };
  }
  const token = platform.randomHex(TOKEN_BYTES);
  platform.files.replaceFile(path, `${token}\n`, 0o600);
  return { token, fresh: true };
}

/** Whether an Authorization header carries the token. Takes the same time wherever the two differ. */
export function isAuthorized(header: string | null, token: string): boolean {
  const given = /^bearer +(\S+)$/i.exec(header ?? "")?.[1] ?? "";
  let difference = given.length ^ token.length;
  for (let i = 0; i < token.length; i++) difference |= token.charCodeAt(i) ^ (given.charCodeAt(i) || 0);
  return difference === 0;
}
