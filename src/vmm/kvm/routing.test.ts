import assert from "node:assert/strict";
import { test } from "node:test";
import {
  IrqRoutingEntry,
  IrqRoutingHeader,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQCHIP_IOAPIC,
} from "./bits.ts";
import { MAX_MSI_ROUTES, RoutingTable } from "./routing.ts";

function entries(table: RoutingTable) {
  const bytes = table.bytes;
  const { nr } = IrqRoutingHeader.decode(bytes);
  assert.equal(bytes.length, IrqRoutingHeader.size + nr * IrqRoutingEntry.size);
  return Array.from({ length: nr }, (_, i) =>
    IrqRoutingEntry.decode(bytes, IrqRoutingHeader.size + i * IrqRoutingEntry.size),
  );
}

test("the fixed part wires PIC and IOAPIC as a PC does", () => {
  const fixed = entries(new RoutingTable());
  assert.equal(fixed.length, 15 + 23);
  assert.ok(fixed.every((entry) => entry.type === KVM_IRQ_ROUTING_IRQCHIP));
  const ioapic = fixed.filter((entry) => entry.addressLo === KVM_IRQCHIP_IOAPIC);
  assert.deepEqual(ioapic.find((entry) => entry.gsi === 0)?.addressHi, 2);
  assert.ok(!ioapic.some((entry) => entry.gsi === 2));
  assert.deepEqual(ioapic.find((entry) => entry.gsi === 9)?.addressHi, 9);
  assert.deepEqual(fixed.find((entry) => entry.gsi === 12)?.addressHi, 4);
});

test("an MSI route has an entry from its first message on, and only changes count as changes", () => {
  const table = new RoutingTable();
  const before = table.count;
  const gsi = table.allocate();
  assert.ok(gsi >= 24);
  assert.equal(table.count, before);
  assert.equal(table.setMessage(gsi, { address: 0xfee0_1000, data: 0x4021 }), true);
  assert.equal(table.setMessage(gsi, { address: 0xfee0_1000, data: 0x4021 }), false);
  assert.equal(table.setMessage(gsi, { address: 0x1_fee0_2000, data: 0x22 }), true);
  assert.equal(table.count, before + 1);
  const entry = entries(table).find((candidate) => candidate.gsi === gsi);
  assert.equal(entry?.type, KVM_IRQ_ROUTING_MSI);
  assert.deepEqual([entry?.addressLo, entry?.addressHi, entry?.data], [0xfee0_2000, 1, 0x22]);
});

test("the table grows to its limit and no further", () => {
  const table = new RoutingTable();
  for (let i = 0; i < MAX_MSI_ROUTES; i++) {
    table.setMessage(table.allocate(), { address: 0xfee0_0000, data: i });
  }
  const messages = entries(table).filter((entry) => entry.type === KVM_IRQ_ROUTING_MSI);
  assert.deepEqual(
    messages.map((entry) => entry.data),
    Array.from({ length: MAX_MSI_ROUTES }, (_, i) => i),
  );
  assert.throws(() => table.allocate(), /more than 1024/);
});
