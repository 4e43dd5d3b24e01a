/** Disk images of other formats than raw. */
export { openQcow2 } from "../backends/open-qcow2.ts";
export { runImageJob } from "../image-job.ts";
