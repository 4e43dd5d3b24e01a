/*
 * Works around errors in QEMU's emulation of x86 and AMD's SVM (three of 7.2 and 10.0, one of 7.2), by LD_PRELOAD. They make
 * guests of KVM inside the emulated server, or QEMU itself, fail at random; docs/decisions/0008 tells how they were found.
 *
 * 1. cpu_clear_ignne() changes a word of flags of CPU 0 without any lock, and every FXRSTOR and XRSTOR of every CPU calls
 *    it. The same word holds CPU 0's global interrupt flag and whether nested paging is on; a change that CPU 0 makes at
 *    that moment is lost. What the function is for, the IGNNE# pin of DOS times, nobody here uses: it returns at once.
 *
 * 2. VMRUN with an event to inject sets exception_index to the event's vector, delivers the event through
 *    do_interrupt_x86_hardirq(), and leaves exception_index as it is. When another thread then kicks the CPU before the
 *    guest exits, the event is delivered once more, whether the guest has interrupts enabled or not. Here
 *    do_interrupt_x86_hardirq() clears exception_index when it is done, which its other caller does as well.
 *
 * 3. A guest that writes CR8 while its hypervisor waits for an interrupt window makes the emulator call cpu_interrupt()
 *    without the big lock, which ends QEMU with a failed assertion. UEFI firmware writes CR8 at the end of every interrupt.
 *    Here cpu_interrupt() takes the lock where its caller has not.
 *
 * 4. CMPXCHG16B computes the flags by the kind of instruction that QEMU last noted as having set them, which may be an older
 *    one than did. The result, RFLAGS with bits of an address in it, is what an interrupt within the next few instructions
 *    puts on the stack; IRET then finds virtual 8086 mode or worse. Here cpu_cc_compute_all() gives nothing but flags that
 *    arithmetic sets.
 *
 * A QEMU that does not have these functions stays as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RET = 0xc3, SEARCH_BYTES = 32 };

/* jmp *0(%rip), followed by the address. */
struct __attribute__((packed)) far_jump {
	uint8_t opcode[6];
	void *target;
};

/* QEMU's own: the CPU that the calling thread runs. */
extern __thread char *current_cpu __attribute__((weak));

typedef void interrupt_function(void *cpu, int number, int is_int, int error_code, uint64_t next_eip, int is_hw);
static interrupt_function *do_interrupt_all;
static int32_t exception_index_offset;

static void do_interrupt_x86_hardirq(void *env, int number, int is_hw)
{
	(void)env;
	do_interrupt_all(current_cpu, number, 0, 0, 0, is_hw);
	*(int32_t *)(current_cpu + exception_index_offset) = -1;
}

/* Where CPUState has exception_index, by cpu_loop_exit_noexc(), which begins with movl $-1, offset(%rdi). 0: not found. */
static int32_t find_exception_index(const uint8_t *code)
{
	static const uint8_t minus_one[4] = { 0xff, 0xff, 0xff, 0xff };
	for (int i = 0; code && i < SEARCH_BYTES; i++) {
		if (code[i] != 0xc7 || code[i + 1] != 0x87 || memcmp(code + i + 6, minus_one, sizeof(minus_one)))
			continue;
		int32_t offset;
		memcpy(&offset, code + i + 2, sizeof(offset));
		return offset;
	}
	return 0;
}

static bool (*is_locked)(void);
static void (*lock)(const char *file, int line);
static void (*unlock)(void);
static void (*handle_interrupt)(void *cpu, int mask);

/* The emulator is a module that QEMU loads by its path, whose functions are not found by name alone. */
static int find_emulator(struct dl_phdr_info *info, size_t size, void *found)
{
	(void)size;
	if (!strstr(info->dlpi_name, "/accel-tcg-"))
		return 0;
	*(void **)found = dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
	return 1;
}

static void cpu_interrupt(void *cpu, int mask)
{
	bool had_lock = is_locked();
	if (!had_lock)
		lock(__FILE__, __LINE__);
	if (!handle_interrupt) {
		void *emulator = NULL;
		dl_iterate_phdr(find_emulator, &emulator);
		*(void **)&handle_interrupt = dlsym(emulator ? emulator : RTLD_DEFAULT, "tcg_handle_interrupt");
	}
	handle_interrupt(cpu, mask);
	if (!had_lock)
		unlock();
}

/* cpu_cc_compute_all() of QEMU 7.2 as Debian compiles it: three loads and a move for the arguments of one call. */
struct __attribute__((packed)) compute_all {
	uint8_t load_rdx[3];
	uint32_t cc_src2;
	uint8_t move_ecx[2];
	uint8_t load_rsi[3];
	uint32_t cc_src;
	uint8_t load_rdi[3];
	uint32_t cc_dst;
	uint8_t call;
	int32_t distance;
	uint8_t ret;
};

/* The same, with a call of any distance and `and $flags, %eax` after it. */
struct __attribute__((packed)) masked_compute_all {
	uint8_t arguments[offsetof(struct compute_all, call)];
	uint8_t move_rax[2];
	const void *callee;
	uint8_t call_rax[2];
	uint8_t and_eax;
	uint32_t flags;
	uint8_t ret;
};

/* OF, SF, ZF, AF, PF, CF */
enum { ARITHMETIC_FLAGS = 0x8d5, CALL = 0xe8, AND_EAX = 0x25 };

static bool is_compute_all(const struct compute_all *code)
{
	static const uint8_t rdx[3] = { 0x48, 0x8b, 0x97 }, rsi[3] = { 0x48, 0x8b, 0xb7 }, rdi[3] = { 0x48, 0x8b, 0xbf };
	static const uint8_t ecx[2] = { 0x89, 0xf1 };
	return !memcmp(code->load_rdx, rdx, 3) && !memcmp(code->move_ecx, ecx, 2) && !memcmp(code->load_rsi, rsi, 3) &&
	       !memcmp(code->load_rdi, rdi, 3) && code->call == CALL && code->ret == RET;
}

static void *mask_compute_all(const struct compute_all *code)
{
	struct masked_compute_all masked = {
		.move_rax = { 0x48, 0xb8 },
		.callee = (const uint8_t *)&code->ret + code->distance,
		.call_rax = { 0xff, 0xd0 },
		.and_eax = AND_EAX,
		.flags = ARITHMETIC_FLAGS,
		.ret = RET,
	};
	memcpy(masked.arguments, code, sizeof(masked.arguments));
	void *page = mmap(NULL, sizeof(masked), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	memcpy(page, &masked, sizeof(masked));
	return mprotect(page, sizeof(masked), PROT_READ | PROT_EXEC) ? NULL : page;
}

/* By its name in QEMU 7.2 or that in later ones. */
static void *either(const char *name, const char *later_name)
{
	void *function = dlsym(RTLD_DEFAULT, name);
	return function ? function : dlsym(RTLD_DEFAULT, later_name);
}

static void overwrite(void *at, const void *bytes, size_t size)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)at & ~(page_size - 1);
	size_t span = (uintptr_t)at + size - first;
	if (mprotect((void *)first, span, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	memcpy(at, bytes, size);
	mprotect((void *)first, span, PROT_READ | PROT_EXEC);
}

__attribute__((constructor)) static void repair(void)
{
	void *clear_ignne = dlsym(RTLD_DEFAULT, "cpu_clear_ignne");
	if (clear_ignne) {
		uint8_t ret = RET;
		overwrite(clear_ignne, &ret, sizeof(ret));
	}

	void *hardirq = dlsym(RTLD_DEFAULT, "do_interrupt_x86_hardirq");
	do_interrupt_all = (interrupt_function *)dlsym(RTLD_DEFAULT, "do_interrupt_all");
	exception_index_offset = find_exception_index(dlsym(RTLD_DEFAULT, "cpu_loop_exit_noexc"));
	if (hardirq && do_interrupt_all && exception_index_offset) {
		struct far_jump jump = { { 0xff, 0x25, 0, 0, 0, 0 }, do_interrupt_x86_hardirq };
		overwrite(hardirq, &jump, sizeof(jump));
	}

	struct compute_all *compute_all = dlsym(RTLD_DEFAULT, "cpu_cc_compute_all");
	void *masked = compute_all && is_compute_all(compute_all) ? mask_compute_all(compute_all) : NULL;
	if (masked) {
		struct far_jump jump = { { 0xff, 0x25, 0, 0, 0, 0 }, masked };
		overwrite(compute_all, &jump, sizeof(jump));
	}

	void *interrupt = dlsym(RTLD_DEFAULT, "cpu_interrupt");
	*(void **)&is_locked = either("qemu_mutex_iothread_locked", "bql_locked");
	*(void **)&lock = either("qemu_mutex_lock_iothread_impl", "bql_lock_impl");
	*(void **)&unlock = either("qemu_mutex_unlock_iothread", "bql_unlock");
	if (interrupt && is_locked && lock && unlock) {
		struct far_jump jump = { { 0xff, 0x25, 0, 0, 0, 0 }, cpu_interrupt };
		overwrite(interrupt, &jump, sizeof(jump));
	}
}
