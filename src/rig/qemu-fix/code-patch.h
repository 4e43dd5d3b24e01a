/* Changing code of the running program. */
#ifndef CODE_PATCH_H
#define CODE_PATCH_H

#include <stddef.h>

/* The address of a function of the program or of a library it has loaded, by either of two names; null when there is none. */
void *function_named(const char *name, const char *newer_name);

/* Writes machine code over a function's beginning. */
void patch_code(void *function, const unsigned char *code, size_t length);

#endif
