/** Guest-physical and host-virtual addresses are both numbers; the brands keep them from being mixed up. */
declare const guestPhysicalBrand: unique symbol;
declare const hostVirtualBrand: unique symbol;

/** An address as the guest's hardware sees it. Always below 2^52, so a plain number holds it. */
export type GuestPhysical = number & { readonly [guestPhysicalBrand]: true };
/** An address in this process. Always below 2^47 on x86-64. */
export type HostVirtual = number & { readonly [hostVirtualBrand]: true };

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** Marks a number as guest-physical: where one enters from a register, a table or a constant. */
export function guestPhysical(address: number): GuestPhysical {
  return address as GuestPhysical;
}

/** Marks a number as host-virtual: where one enters from mmap. */
export function hostVirtual(address: number): HostVirtual {
  return address as HostVirtual;
}
