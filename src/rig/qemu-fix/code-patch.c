/* See code-patch.h. */
#define _GNU_SOURCE
#include "code-patch.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *function_named(const char *name, const char *newer_name)
{
	void *function = dlsym(RTLD_DEFAULT, name);
	return function || !newer_name ? function : dlsym(RTLD_DEFAULT, newer_name);
}

void patch_code(void *function, const unsigned char *code, size_t length)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = (uintptr_t)function & ~(page_size - 1);
	size_t size = (uintptr_t)function + length - start;
	if (mprotect((void *)start, size, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	memcpy(function, code, length);
	mprotect((void *)start, size, PROT_READ | PROT_EXEC);
}
