/** MAC addresses: checked, or chosen when the VM's owner gives none. */

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return value;
}

/**
 * The address of a VM's interface: the same for the same VM, locally administered, unicast, none of `taken`
 * (lower case).
 */
export function chooseMac(vmId: string, index: number, taken: ReadonlySet<string>): string {
  for (let attempt = 0; ; attempt++) {
    const digits = hash(`${vmId}/${index}/${attempt}`).toString(16).padStart(8, "0");
    const mac = `52:54:${digits.match(/../g)?.join(":")}`;
    if (!taken.has(mac)) return mac;
  }
}
