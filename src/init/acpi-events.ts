/** The power button: the kernel's ACPI events over generic netlink. Source: drivers/acpi/event.c. */
import { ascii, packed, u32 } from "../base/layout.ts";
import type { EventLoop } from "../sys/loop.ts";
import { findMulticastGroup, GenericHeader } from "../sys/netlink/generic.ts";
import { decodeAttributes, type Message } from "../sys/netlink/messages.ts";
import { NETLINK_GENERIC, NetlinkSocket } from "../sys/netlink/socket.ts";

const AcpiEvent = packed("acpi_genl_event", "drivers/acpi/event.c", {
  deviceClass: ascii(20),
  busId: ascii(15),
  // The C structure aligns what follows.
  pad: ascii(1),
  type: u32,
  data: u32,
});

const ATTRIBUTE_EVENT = 1;
const POWER_BUTTON_CLASS = "button/power";

/** Whether a message tells of a press of the power button. */
export function isPowerButton(message: Message): boolean {
  const event = decodeAttributes(message.body, GenericHeader.size).get(ATTRIBUTE_EVENT);
  return (
    event !== undefined &&
    event.length >= AcpiEvent.size &&
    AcpiEvent.decode(event).deviceClass === POWER_BUTTON_CLASS
  );
}

/** Calls back at each press from now on. Throws SystemError where the kernel has no ACPI events. */
export function watchPowerButton(loop: EventLoop, onPress: () => void): void {
  const group = findMulticastGroup("acpi_event", "acpi_mc_group");
  new NetlinkSocket(NETLINK_GENERIC).subscribe(group, loop, (message) => {
    if (isPowerButton(message)) onPress();
  });
}
