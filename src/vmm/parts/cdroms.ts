/** CD drives. */
export { makeDrives } from "../cd-drives.ts";
export { VirtioScsi } from "../virtio/scsi/device.ts";
