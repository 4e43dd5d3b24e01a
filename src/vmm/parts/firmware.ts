/** Guest firmware: flash, the firmware configuration device, the bridges of a Q35. */
export { FwCfg } from "../devices/fw-cfg/fw-cfg.ts";
export { addMachineItems } from "../firmware/files.ts";
export { attachFirmware, firmwareHostBridge } from "../firmware/firmware.ts";
