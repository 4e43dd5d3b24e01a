/*
 * A multiboot kernel that looks at what it was given, tells it on the serial port and on the debug console, and ends
 * through the debug exit: 0x10 (status 33) when all is well, otherwise the number of the check that failed.
 *
 * Built for 32 bits without any library, once as ELF and once as a flat file whose header has the addresses itself
 * (-DADDRESS_OVERRIDE). With "fault" as the command line's last word it ends in a triple fault, and with "fail" in a
 * check that fails.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC 0x2badb002u
#ifdef ADDRESS_OVERRIDE
#define FLAGS 0x10003u
#else
#define FLAGS 0x3u
#endif

extern u8 kernel_start[], kernel_data_end[], kernel_end[];
void _start(void);

__attribute__((section(".multiboot"), used)) static const struct {
  u32 magic, flags, checksum;
  const void *header, *load, *load_end, *bss_end;
  void (*entry)(void);
} header = { HEADER_MAGIC, FLAGS, -(HEADER_MAGIC + FLAGS), &header, kernel_start, kernel_data_end, kernel_end, _start };

struct info {
  u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
  u32 drives[2], config_table, loader_name;
};
struct module { u32 start, end, string, reserved; };
struct memory { u32 size; u64 addr, len; u32 type; } __attribute__((packed));

u8 stack[4096];
static u32 uninitialised[64];
static u32 initialised = 0x12345678;

__asm__(".globl _start\n"
        "_start: mov %cr0, %ecx\n"
        "  mov $stack + 4096, %esp\n"
        "  pushf\n"
        "  push %ecx\n"
        "  push %ebx\n"
        "  push %eax\n"
        "  call run\n"
        "halt: hlt\n"
        "  jmp halt\n");

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void put(char c) {
  while (!(in8(0x3fd) & 0x20)) {}
  out8(0x3f8, c);
  out8(0xe9, c);
}
static void say(const char *text) { while (*text) put(*text++); }
static void say_hex(u64 value) {
  int shift = 60;
  say("0x");
  while (shift > 0 && (value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) put("0123456789abcdef"[(value >> shift) & 15]);
}
static int equal(const char *a, const char *b) {
  for (; *a && *a == *b; a++, b++) {}
  return *a == *b;
}
static int ends_with(const char *text, const char *end) {
  for (; *text; text++) if (equal(text, end)) return 1;
  return 0;
}

static void check(int number, int holds) {
  if (holds) return;
  say("check failed: ");
  say_hex(number);
  say("\n");
  out32(0xf4, number);
  for (;;) {}
}

void run(u32 magic, const struct info *info, u32 cr0, u32 eflags) {
  u64 ram = 0;
  u32 at, i;
  check(1, magic == ENTRY_MAGIC);
  check(2, (cr0 & 0x80000001u) == 1);          /* protected mode, no paging */
  check(3, (eflags & 0x20200) == 0);           /* no interrupts, no virtual-8086 mode */
  check(4, initialised == 0x12345678);
  for (i = 0; i < 64; i++) check(5, uninitialised[i] == 0);
  check(6, (info->flags & 0x245) == 0x245);    /* memory, command line, memory map, loader name */
  check(7, in8(0xe9) == 0xe9 && in8(0x402) == 0xe9);
  say("loader ");
  say((const char *)info->loader_name);
  say("\ncommand line \"");
  say((const char *)info->cmdline);
  say("\"\nlower ");
  say_hex(info->mem_lower);
  say(" KiB, upper ");
  say_hex(info->mem_upper);
  say(" KiB\n");
  for (at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
    const struct memory *entry = (const struct memory *)at;
    check(8, entry->size >= 20);
    say("memory ");
    say_hex(entry->addr);
    say(" + ");
    say_hex(entry->len);
    say(entry->type == 1 ? " RAM\n" : " reserved\n");
    if (entry->type == 1) ram += entry->len;
    at += entry->size + 4;
  }
  check(9, ram >> 20 == (info->mem_upper >> 10)); /* all below the PCI hole, so both say the same */
  if (info->flags & 8) {
    const struct module *modules = (const struct module *)info->mods_addr;
    check(10, info->mods_count == 1 && (modules->start & 0xfff) == 0);
    say("module ");
    say((const char *)modules->string);
    say(": ");
    for (at = modules->start; at < modules->end; at++) put(*(const char *)at);
    say("\n");
  }
  out16(0x510, 5); /* firmware configuration: number of CPUs, which test suites ask for */
  say("CPUs ");
  say_hex(in8(0x511));
  say("\n");
  out8(0x402, '!');
  out8(0x402, '\n'); /* on the debug console only */
  if (ends_with((const char *)info->cmdline, " fault")) __asm__ volatile("lidt %0\n int3" ::"m"(uninitialised));
  check(0x7f, !ends_with((const char *)info->cmdline, " fail"));
  say("all is well\n");
  out32(0xf4, 0x10);
  for (;;) {}
}
