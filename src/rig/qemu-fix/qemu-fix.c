/*
 * Works around two errors in QEMU's emulation of AMD's SVM (seen in 7.2 and 10.0), by LD_PRELOAD. Both make guests of KVM
 * inside the emulated server fail at random; docs/decisions/0008 tells how they were found.
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
 * A QEMU that does not have these functions stays as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
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
}
