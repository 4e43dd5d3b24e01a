/** Graphics, input, and those who watch and type. */
export { attachDisplay, firmwareScreen } from "../graphics.ts";
export { InputRouter } from "../input-router.ts";
export { Typist } from "../typist.ts";
export { VirtioInput } from "../virtio/input/device.ts";
export { KEYBOARD, TABLET } from "../virtio/input/kinds.ts";
export { VncServer } from "../vnc/server.ts";
