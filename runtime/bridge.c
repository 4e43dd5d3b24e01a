/* The global `bridge` (src/sys/bridge.ts): system calls and raw memory for TypeScript. Nothing in here knows a use. */
#include <math.h>
#include <stdint.h>
#include <unistd.h>

#include "runtime.h"

#define SYSCALL_ARGUMENTS_MAX 6

static JSValue bridge_object;
static JSAtom rejection_handler_name;

/* Converts one argument of a system call. Returns -1 with an exception pending when it is none. */
static int syscall_argument(JSContext *ctx, JSValueConst value, long *out)
{
    uint8_t *bytes;
    size_t size;
    double number;

    if (JS_VALUE_GET_TAG(value) == JS_TAG_INT) {
        *out = JS_VALUE_GET_INT(value);
        return 0;
    }
    if (JS_IsNumber(value)) {
        number = JS_VALUE_GET_FLOAT64(value);
        if (!(fabs(number) <= 9007199254740992.0)) {
            JS_ThrowRangeError(ctx, "a system call argument is not a whole number of at most 2^53");
            return -1;
        }
        *out = (long)number;
        return 0;
    }
    if (JS_IsNull(value)) {
        *out = 0;
        return 0;
    }
    if (engine_memory(value, &bytes, &size)) {
        *out = (long)bytes;
        return 0;
    }
    JS_ThrowTypeError(ctx, "a system call argument is neither number, memory nor null");
    return -1;
}

/* The kernel's own convention: the result, or a negative errno; no errno variable. */
static long raw_syscall(long number, const long *a)
{
    long result;
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

enum { SYSCALL_KEEP_LOCK, SYSCALL_GIVE_LOCK };

static JSValue do_syscall(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int lock)
{
    long arguments[1 + SYSCALL_ARGUMENTS_MAX] = { 0 };
    long result;
    int i;

    (void)self;
    if (argc < 1 || argc > 1 + SYSCALL_ARGUMENTS_MAX)
        return JS_ThrowTypeError(ctx, "a system call takes its number and at most six arguments");
    for (i = 0; i < argc; i++) {
        if (syscall_argument(ctx, argv[i], &arguments[i]))
            return JS_EXCEPTION;
    }
    if (lock == SYSCALL_GIVE_LOCK) {
        runtime_leave();
        result = raw_syscall(arguments[0], arguments + 1);
        runtime_enter();
    } else {
        result = raw_syscall(arguments[0], arguments + 1);
    }
    return JS_NewInt64(ctx, result);
}

static JSValue view(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    int64_t address, size;

    (void)self;
    if (argc != 2)
        return JS_ThrowTypeError(ctx, "view takes an address and a size");
    if (JS_ToInt64(ctx, &address, argv[0]) || JS_ToInt64(ctx, &size, argv[1]))
        return JS_EXCEPTION;
    if (address <= 0 || size < 0 || size > INT32_MAX)
        return JS_ThrowRangeError(ctx, "view: address 0, or a size that is not below 2 GiB");
    return JS_NewArrayBuffer(ctx, (uint8_t *)(uintptr_t)address, size, NULL, NULL, 0);
}

static JSValue address_of(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    uint8_t *bytes;
    size_t size;

    (void)self;
    if (argc != 1 || !engine_memory(argv[0], &bytes, &size))
        return JS_ThrowTypeError(ctx, "addressOf takes a buffer or a view");
    return JS_NewInt64(ctx, (int64_t)(uintptr_t)bytes);
}

static JSValue detach(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    (void)self;
    if (argc != 1)
        return JS_ThrowTypeError(ctx, "detach takes an ArrayBuffer");
    JS_DetachArrayBuffer(ctx, argv[0]);
    return JS_UNDEFINED;
}

static JSValue run_jobs_now(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    (void)self, (void)argc, (void)argv;
    return JS_NewInt32(ctx, run_jobs());
}

static JSValue gc(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    (void)ctx, (void)self, (void)argc, (void)argv;
    JS_RunGC(runtime);
    heap_trim();
    return JS_UNDEFINED;
}

/* The value of a script that is kept beside the role's own: a part of it (src/image/runtime/parts.ts). */
static JSValue load_part(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    const char *name = argc == 1 ? JS_ToCString(ctx, argv[0]) : NULL;
    const struct bundle *part = name ? find_bundle(name) : NULL;

    (void)self;
    JS_FreeCString(ctx, name);
    if (!part)
        return JS_ThrowReferenceError(ctx, "this build has no such part");
    return engine_run_module(ctx, engine_read_script(ctx, part->start, part->end - part->start));
}

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_MAGIC_DEF("syscall", 1, do_syscall, SYSCALL_KEEP_LOCK),
    JS_CFUNC_MAGIC_DEF("syscallBlocking", 1, do_syscall, SYSCALL_GIVE_LOCK),
    JS_CFUNC_DEF("view", 2, view),
    JS_CFUNC_DEF("addressOf", 1, address_of),
    JS_CFUNC_DEF("detach", 1, detach),
    JS_CFUNC_DEF("utf8Decode", 1, utf8_decode),
    JS_CFUNC_DEF("utf8Encode", 1, utf8_encode),
    JS_CFUNC_DEF("startIoctlThread", 3, start_ioctl_thread),
    JS_CFUNC_DEF("runJobs", 0, run_jobs_now),
    JS_CFUNC_DEF("gc", 0, gc),
    JS_CFUNC_DEF("loadPart", 1, load_part),
};

void bridge_init(JSContext *ctx, int argc, char **argv)
{
    JSValue global = JS_GetGlobalObject(ctx);
    JSValue arguments = JS_NewArray(ctx);
    int i;

    bridge_object = JS_NewObject(ctx);
    JS_SetPropertyFunctionList(ctx, bridge_object, functions, sizeof(functions) / sizeof(functions[0]));
    for (i = 0; i < argc; i++)
        JS_SetPropertyUint32(ctx, arguments, i, JS_NewString(ctx, argv[i]));
    JS_SetPropertyStr(ctx, bridge_object, "args", arguments);
    JS_SetPropertyStr(ctx, global, "bridge", JS_DupValue(ctx, bridge_object));
    JS_FreeValue(ctx, global);
    rejection_handler_name = JS_NewAtom(ctx, "onUnhandledRejection");
}

JSValue bridge_rejection_handler(JSContext *ctx)
{
    return JS_GetProperty(ctx, bridge_object, rejection_handler_name);
}
