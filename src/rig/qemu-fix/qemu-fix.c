/*
 * Works around errors in QEMU's emulation of x86 and AMD's SVM (three of 7.2 and 10.0, two of 7.2), by LD_PRELOAD. They make
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
 * 5. A translation is made of code that is read before its page is watched for writes, so what another CPU writes meanwhile
 *    is not in it, and that CPU's interrupt to say so comes too early: the old code is run from then on. The kernel's own
 *    patching of its text meets it. Here tb_gen_code() is repeated when the code is no longer what it was. Also, a CPU that
 *    has written to a watched page ends the watch of it for itself by tlb_set_dirty(), even when the page has just come to be
 *    watched again. That function returns at once: the CPU goes on telling of its writes to the page, which costs time only.
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

#define FAR_JUMP { 0xff, 0x25, 0, 0, 0, 0 }

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

/* Gives code that can be run, or NULL. */
static void *executable(const void *code, size_t size)
{
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	memcpy(page, code, size);
	return mprotect(page, size, PROT_READ | PROT_EXEC) ? NULL : page;
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
	return executable(&masked, sizeof(masked));
}

/* The beginning of a TranslationBlock of QEMU 7.2 for x86. */
struct translation_block {
	uint64_t pc, cs_base;
	uint32_t flags, cflags, trace_vcpu_dstate;
	uint16_t size, icount;
};

/* How Debian's tb_gen_code() of QEMU 7.2 begins: whole instructions that run anywhere. */
static const uint8_t gen_code_prologue[] = {
	0x41, 0x57, 0x41, 0x56, 0x45, 0x89, 0xc6, 0x41, 0x55, 0x41, 0x54, 0x49,
	0x89, 0xfc, 0x55, 0x53, 0x48, 0x81, 0xec, 0x88, 0x00, 0x00, 0x00,
};

struct __attribute__((packed)) gen_code_start {
	uint8_t prologue[sizeof(gen_code_prologue)];
	struct far_jump rest;
};

enum { GUEST_PAGE_SIZE = 4096, GEN_CODE_SEARCH_BYTES = 96, STORE_CYCLES = 3000 };

typedef struct translation_block *gen_code_function(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, int cflags);
static gen_code_function *original_gen_code;
static int32_t env_pointer_offset;
static uint64_t (*code_address)(void *env, uint64_t pc, void **host);
static void (*invalidate)(struct translation_block *block, uint64_t page_address);

/* A store that passed the check for watched pages may take a while to be seen by this CPU. */
static void wait_for_stores(void)
{
	uint64_t start = __builtin_ia32_rdtsc();
	while (__builtin_ia32_rdtsc() - start < STORE_CYCLES)
		__builtin_ia32_pause();
}

/* Of code in two pages the second part, which is of one instruction, is not compared. */
static struct translation_block *tb_gen_code(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, int cflags)
{
	uint8_t before[GUEST_PAGE_SIZE];
	size_t rest_of_page = GUEST_PAGE_SIZE - pc % GUEST_PAGE_SIZE;
	for (;;) {
		void *code = NULL;
		code_address(*(void **)((char *)cpu + env_pointer_offset), pc, &code);
		if (code)
			memcpy(before, code, rest_of_page);
		struct translation_block *block = original_gen_code(cpu, pc, cs_base, flags, cflags);
		wait_for_stores();
		size_t size = block->size < rest_of_page ? block->size : rest_of_page;
		if (!code || !memcmp(before, code, size))
			return block;
		invalidate(block, UINT64_MAX);
	}
}

/* Where CPUState has env_ptr, by tb_gen_code(), which gets it by mov offset(%rdi), %rax. 0: not found. */
static int32_t find_env_pointer(const uint8_t *code)
{
	static const uint8_t move[3] = { 0x48, 0x8b, 0x87 };
	for (int i = sizeof(gen_code_prologue); i < GEN_CODE_SEARCH_BYTES; i++) {
		if (memcmp(code + i, move, sizeof(move)))
			continue;
		int32_t offset;
		memcpy(&offset, code + i + sizeof(move), sizeof(offset));
		return offset;
	}
	return 0;
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

static void return_at_once(void *function)
{
	uint8_t ret = RET;
	overwrite(function, &ret, sizeof(ret));
}

static void jump_to(void *at, void *target)
{
	struct far_jump jump = { FAR_JUMP, target };
	overwrite(at, &jump, sizeof(jump));
}

static void repair_gen_code(void)
{
	uint8_t *gen_code = dlsym(RTLD_DEFAULT, "tb_gen_code");
	*(void **)&code_address = dlsym(RTLD_DEFAULT, "get_page_addr_code_hostp");
	*(void **)&invalidate = dlsym(RTLD_DEFAULT, "tb_phys_invalidate");
	if (!gen_code || !code_address || !invalidate || memcmp(gen_code, gen_code_prologue, sizeof(gen_code_prologue)))
		return;
	env_pointer_offset = find_env_pointer(gen_code);
	struct gen_code_start start = { .rest = { FAR_JUMP, gen_code + sizeof(gen_code_prologue) } };
	memcpy(start.prologue, gen_code_prologue, sizeof(gen_code_prologue));
	*(void **)&original_gen_code = executable(&start, sizeof(start));
	if (env_pointer_offset && original_gen_code)
		jump_to(gen_code, tb_gen_code);

	void *set_dirty = dlsym(RTLD_DEFAULT, "tlb_set_dirty");
	if (set_dirty)
		return_at_once(set_dirty);
}

__attribute__((constructor)) static void repair(void)
{
	void *clear_ignne = dlsym(RTLD_DEFAULT, "cpu_clear_ignne");
	if (clear_ignne)
		return_at_once(clear_ignne);

	void *hardirq = dlsym(RTLD_DEFAULT, "do_interrupt_x86_hardirq");
	do_interrupt_all = (interrupt_function *)dlsym(RTLD_DEFAULT, "do_interrupt_all");
	exception_index_offset = find_exception_index(dlsym(RTLD_DEFAULT, "cpu_loop_exit_noexc"));
	if (hardirq && do_interrupt_all && exception_index_offset)
		jump_to(hardirq, do_interrupt_x86_hardirq);

	struct compute_all *compute_all = dlsym(RTLD_DEFAULT, "cpu_cc_compute_all");
	void *masked = compute_all && is_compute_all(compute_all) ? mask_compute_all(compute_all) : NULL;
	if (masked)
		jump_to(compute_all, masked);

	void *interrupt = dlsym(RTLD_DEFAULT, "cpu_interrupt");
	*(void **)&is_locked = either("qemu_mutex_iothread_locked", "bql_locked");
	*(void **)&lock = either("qemu_mutex_lock_iothread_impl", "bql_lock_impl");
	*(void **)&unlock = either("qemu_mutex_unlock_iothread", "bql_unlock");
	if (interrupt && is_locked && lock && unlock)
		jump_to(interrupt, cpu_interrupt);

	repair_gen_code();
}
