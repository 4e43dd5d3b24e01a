/*
 * A kernel that does nothing but leave the guest: it reads one emulated register over and over and writes a line on
 * the serial port after every thousand reads, which the host counts. Built for 32 bits without any library,
 * for a port (the serial port's scratch register) and, with -DMMIO, for memory-mapped I/O (device_feature of the first
 * virtio device: in its PCI configuration structure, or where there is no PCI in a virtio-mmio transport).
 *
 * With -DIDLE it leaves the guest no more than once: it says that it is there and halts.
 *
 * Started by the PVH protocol: 32-bit protected mode without paging at the address in the note.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef volatile u32 reg32;

#define COM1 0x3f8
#define COM1_LINE_STATUS (COM1 + 5)
#define COM1_SCRATCH (COM1 + 7)
#define TRANSMITTER_EMPTY 0x20
#define READS_PER_LINE 1000

u8 stack[4096];

__asm__(".pushsection .note.pvh, \"a\", @note\n"
        "  .balign 4\n"
        "  .long 4, 8, 18\n" /* sizes of name and value, XEN_ELFNOTE_PHYS32_ENTRY */
        "  .asciz \"Xen\"\n"
        "  .long _start, 0\n"
        ".popsection\n"
        ".globl _start\n"
        "_start: mov $stack + 4096, %esp\n"
        "  call run\n"
        "halt: cli\n"
        "  hlt\n"
        "  jmp halt\n");

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void say(const char *text) {
  for (; *text; text++) {
    while (!(in8(COM1_LINE_STATUS) & TRANSMITTER_EMPTY)) {}
    out8(COM1, *text);
  }
}

#ifdef MMIO
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_VIRTIO_VENDOR 0x1af4
#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 2
#define PCI_BAR0 0x10
#define PCI_CAPABILITIES 0x34
#define CAPABILITY_VENDOR 9
#define VIRTIO_COMMON_CONFIG 1
#define VIRTIO_PCI_DEVICE_FEATURE 4
/* Where a BAR is put that nobody has placed below 4 GiB: no machine here has anything else there. */
#define BAR_ADDRESS 0xd0000000u
/* QEMU's microvm: transports of 512 bytes each. */
#define VIRTIO_MMIO_START 0xfeb00000u
#define VIRTIO_MMIO_SIZE 0x200
#define VIRTIO_MMIO_COUNT 24
#define VIRTIO_MMIO_MAGIC 0x74726976u
#define VIRTIO_MMIO_DEVICE_ID 8
#define VIRTIO_MMIO_DEVICE_FEATURE 0x10

static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static u32 pci_read(u32 slot, u32 offset) {
  out32(PCI_ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
  return in32(PCI_DATA);
}
static void pci_write(u32 slot, u32 offset, u32 value) {
  out32(PCI_ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
  out32(PCI_DATA, value);
}
static u8 pci_byte(u32 slot, u32 offset) { return pci_read(slot, offset) >> (8 * (offset & 3)); }

static u32 bar_address(u32 slot, u32 offset) {
  u32 low = pci_read(slot, offset);
  int is64 = (low & 6) == 4;
  if ((low & ~15u) == 0 || (is64 && pci_read(slot, offset + 4) != 0)) {
    pci_write(slot, offset, BAR_ADDRESS);
    if (is64) pci_write(slot, offset + 4, 0);
    low = BAR_ADDRESS;
  }
  pci_write(slot, PCI_COMMAND, pci_read(slot, PCI_COMMAND) | PCI_COMMAND_MEMORY);
  return low & ~15u;
}

static reg32 *find_register(void) {
  u32 slot, i;
  for (slot = 0; slot < 32; slot++) {
    u32 at;
    if ((pci_read(slot, 0) & 0xffff) != PCI_VIRTIO_VENDOR) continue;
    for (at = pci_byte(slot, PCI_CAPABILITIES), i = 0; at != 0 && i < 48; at = pci_byte(slot, at + 1), i++) {
      if (pci_byte(slot, at) != CAPABILITY_VENDOR || pci_byte(slot, at + 3) != VIRTIO_COMMON_CONFIG) continue;
      return (reg32 *)(bar_address(slot, PCI_BAR0 + 4 * pci_byte(slot, at + 4)) + pci_read(slot, at + 8) +
                       VIRTIO_PCI_DEVICE_FEATURE);
    }
  }
  for (i = 0; i < VIRTIO_MMIO_COUNT; i++) {
    u32 base = VIRTIO_MMIO_START + i * VIRTIO_MMIO_SIZE;
    if (*(reg32 *)base == VIRTIO_MMIO_MAGIC && *(reg32 *)(base + VIRTIO_MMIO_DEVICE_ID) != 0)
      return (reg32 *)(base + VIRTIO_MMIO_DEVICE_FEATURE);
  }
  return 0;
}
#endif

void run(void) {
  u32 i;
#ifdef IDLE
  say("THIMBLE-GUEST-READY\n");
  return;
#endif
#ifdef MMIO
  reg32 *reg = find_register();
  if (reg == 0) {
    say("NO-DEVICE\n");
    return;
  }
#endif
  say("READY\n");
  for (;;) {
    for (i = 0; i < READS_PER_LINE; i++) {
#ifdef MMIO
      (void)*reg;
#else
      in8(COM1_SCRATCH);
#endif
    }
    say("+\n");
  }
}
