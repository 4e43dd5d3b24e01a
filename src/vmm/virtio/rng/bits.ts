/** Numbers of the entropy device: virtio 1.2, 5.4. */
import { DeviceType } from "../bits.ts";

export const RNG_DEVICE_TYPE = DeviceType.entropy;
/** No PCI class fits. */
export const RNG_CLASS_CODE = 0xff_00_00;

export const QUEUE_SIZE = 64;
/** Most bytes given for one buffer: drivers ask for a page at most, and a longer one would hold up the others. */
export const REQUEST_BYTES_MAX = 64 * 1024;
/** Buffers filled in one call, for the same reason. */
export const CHAINS_PER_CALL = 64;
