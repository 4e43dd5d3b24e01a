/*
 * Works around an error in QEMU's x86 emulation (seen in 7.2 and 10.0), by LD_PRELOAD; docs/decisions/0008 tells more.
 *
 * cpu_clear_ignne() changes a word of flags of CPU 0 without any lock, and every FXRSTOR and XRSTOR of every CPU calls it.
 * The same word holds CPU 0's SVM state: its global interrupt flag, and whether nested paging is on. A change that CPU 0
 * makes at that moment is lost; a server with two CPUs then stops to take interrupts, or a guest sees wrong memory.
 *
 * What the function is for, the IGNNE# pin of DOS times, no guest of ours uses: so it returns at once.
 */
#include "code-patch.h"

static const unsigned char ret[] = {0xc3};

__attribute__((constructor)) static void disable_clear_ignne(void)
{
	void *function = function_named("cpu_clear_ignne", NULL);
	if (function)
		patch_code(function, ret, sizeof(ret));
}
