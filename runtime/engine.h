/*
 * The few things about the engine that its public header does not offer.
 *
 * engine.c includes QuickJS's own quickjs.c, unchanged, and so can reach its private structures. Everything else
 * in this directory uses quickjs.h and this header.
 */
#ifndef THIMBLE_ENGINE_H
#define THIMBLE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "quickjs.h"

/* A context with the parts of the language that the image needs; without eval and the compiler. */
JSContext *engine_new_context(JSRuntime *rt);

/* Reads a compiled module. Its bytes must stay where they are: bytecode may be run in place. */
JSValue engine_read_script(JSContext *ctx, const uint8_t *bytes, size_t size);

/* Runs what engine_read_script returned, once, and returns the object of its exports, or an exception. */
JSValue engine_run_module(JSContext *ctx, JSValue script);

/* Adds the standard objects to a context made by engine_new_context. */
void engine_add_intrinsics(JSContext *ctx);

/* Where the bytes of an ArrayBuffer, typed array or DataView are. Returns 0 when the value is none of them. */
int engine_memory(JSValueConst value, uint8_t **bytes, size_t *size);

/*
 * What belongs to the thread that runs scripts, not to the runtime: the innermost call frame and how deep the stack
 * may grow. It is taken away when a thread gives the runtime back and put in place when it continues.
 */
struct engine_thread {
    uintptr_t stack_base;
    size_t stack_size;
    void *frame;
};

void engine_suspend(JSRuntime *rt, struct engine_thread *thread);
void engine_resume(JSRuntime *rt, const struct engine_thread *thread);

#endif
