/** What only some machines need, or only at their start: read when it is first used (src/image/runtime/parts.ts). */
import * as cdroms from "./parts/cdroms.ts";
import * as channels from "./parts/channels.ts";
import * as display from "./parts/display.ts";
import * as firmware from "./parts/firmware.ts";
import * as images from "./parts/images.ts";
import * as kernels from "./parts/kernels.ts";
import * as start from "./parts/start.ts";

export const cdromsPart = () => cdroms;
export const channelsPart = () => channels;
export const displayPart = () => display;
export const firmwarePart = () => firmware;
export const imagesPart = () => images;
export const kernelsPart = () => kernels;
export const startPart = () => start;
export const forgetParts = () => {};
