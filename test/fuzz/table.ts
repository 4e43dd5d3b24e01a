/** Every device of the machine that a guest can reach. fuzz.test.ts sees to it that none is missing. */
import { display, pci } from "./pci.ts";
import { acpiPm, flash, fwCfg, i8042, legacyPorts, rtc, serial } from "./ports.ts";
import type { SubjectKind } from "./subject.ts";
import {
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioKeyboard,
  virtioNet,
  virtioRng,
  virtioScsi,
  virtioSerial,
  virtioTablet,
  virtioVsock,
} from "./virtio.ts";

export const DEVICES: Readonly<Record<string, SubjectKind>> = {
  serial,
  rtc,
  i8042,
  "acpi-pm": acpiPm,
  "fw-cfg": fwCfg,
  flash,
  "legacy-ports": legacyPorts,
  pci,
  display,
  "virtio-rng": virtioRng,
  "virtio-balloon": virtioBalloon,
  "virtio-console": virtioConsole,
  "virtio-serial": virtioSerial,
  "virtio-vsock": virtioVsock,
  "virtio-blk": virtioBlk,
  "virtio-scsi": virtioScsi,
  "virtio-net": virtioNet,
  "virtio-keyboard": virtioKeyboard,
  "virtio-tablet": virtioTablet,
};
