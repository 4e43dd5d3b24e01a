/*
 * Works around an error in QEMU's x86 emulation (seen in 7.2), by LD_PRELOAD; docs/decisions/0008 tells more.
 *
 * A guest under SVM that writes CR8 while its hypervisor waits for an interrupt window makes the emulator call
 * cpu_interrupt() without the big lock, which ends QEMU with a failed assertion. OVMF writes CR8 at the end of every
 * interrupt. So cpu_interrupt() takes the lock where its caller has not.
 */
#define _GNU_SOURCE
#include "code-patch.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool (*is_locked)(void);
static void (*lock)(const char *file, int line);
static void (*unlock)(void);
static void (*handle_interrupt)(void *cpu, int mask);

/* The emulator is a module that QEMU loads by its path, so its functions are not found by name alone. */
static int find_emulator(struct dl_phdr_info *info, size_t size, void *found)
{
	(void)size;
	if (!strstr(info->dlpi_name, "/accel-tcg-"))
		return 0;
	*(void **)found = dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
	return 1;
}

static void cpu_interrupt_locked(void *cpu, int mask)
{
	bool had_lock = is_locked();
	if (!had_lock)
		lock(__FILE__, __LINE__);
	if (!handle_interrupt) {
		void *emulator = NULL;
		dl_iterate_phdr(find_emulator, &emulator);
		handle_interrupt = (void (*)(void *, int))dlsym(emulator ? emulator : RTLD_DEFAULT, "tcg_handle_interrupt");
	}
	handle_interrupt(cpu, mask);
	if (!had_lock)
		unlock();
}

__attribute__((constructor)) static void lock_cpu_interrupt(void)
{
	void *function = function_named("cpu_interrupt", NULL);
	is_locked = (bool (*)(void))function_named("qemu_mutex_iothread_locked", "bql_locked");
	lock = (void (*)(const char *, int))function_named("qemu_mutex_lock_iothread_impl", "bql_lock_impl");
	unlock = (void (*)(void))function_named("qemu_mutex_unlock_iothread", "bql_unlock");
	if (!function || !is_locked || !lock || !unlock)
		return;
	/* movabs $cpu_interrupt_locked, %rax; jmp *%rax */
	unsigned char jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
	uint64_t target = (uintptr_t)cpu_interrupt_locked;
	memcpy(jump + 2, &target, sizeof(target));
	patch_code(function, jump, sizeof(jump));
}
