/* Promise jobs, rejections that nobody handles, and the end of the process after an uncaught exception. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

/* Causes of causes printed; enough for real ones, and an end for circular ones. */
#define CAUSES_MAX 8

/* Rejected promises without a handler so far; looked at when no job is left, as handlers may come until then. */
struct rejection {
    JSValue promise;
    JSValue reason;
};
static struct rejection *rejections;
static size_t rejection_count, rejection_capacity;

static void print(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(2, text, length);
        if (written <= 0)
            return;
        text += written;
        length -= written;
    }
}

static void print_value(JSContext *ctx, JSValueConst value)
{
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, value);
    if (text) {
        print(text, length);
        JS_FreeCString(ctx, text);
    } else {
        JS_FreeValue(ctx, JS_GetException(ctx));
        print("(not printable)", 15);
    }
}

_Noreturn void die_of_value(JSContext *ctx, const char *what, JSValueConst thrown)
{
    JSValue value = JS_DupValue(ctx, thrown);
    int depth;

    print(what, strlen(what));
    for (depth = 0; depth < CAUSES_MAX; depth++) {
        JSValue stack, cause;
        print_value(ctx, value);
        print("\n", 1);
        if (!JS_IsObject(value))
            break;
        stack = JS_GetPropertyStr(ctx, value, "stack");
        if (JS_IsString(stack))
            print_value(ctx, stack);
        JS_FreeValue(ctx, stack);
        cause = JS_GetPropertyStr(ctx, value, "cause");
        if (JS_IsUndefined(cause) || JS_IsNull(cause) || JS_IsException(cause))
            break;
        print("caused by ", 10);
        JS_FreeValue(ctx, value);
        value = cause;
    }
    _exit(STATUS_UNCAUGHT);
}

_Noreturn void die_of_exception(JSContext *ctx)
{
    die_of_value(ctx, "thimble: uncaught exception: ", JS_GetException(ctx));
}

static void track_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, JS_BOOL handled, void *opaque)
{
    size_t i;

    (void)opaque;
    if (handled) {
        for (i = 0; i < rejection_count; i++) {
            if (JS_VALUE_GET_PTR(rejections[i].promise) == JS_VALUE_GET_PTR(promise)) {
                JS_FreeValue(ctx, rejections[i].promise);
                JS_FreeValue(ctx, rejections[i].reason);
                rejections[i] = rejections[--rejection_count];
                return;
            }
        }
        return;
    }
    if (rejection_count == rejection_capacity) {
        size_t capacity = rejection_capacity ? rejection_capacity * 2 : 8;
        struct rejection *grown = realloc(rejections, capacity * sizeof(*grown));
        if (!grown)
            die_of_value(ctx, "thimble: out of memory at a rejected promise: ", reason);
        rejections = grown;
        rejection_capacity = capacity;
    }
    rejections[rejection_count].promise = JS_DupValue(ctx, promise);
    rejections[rejection_count].reason = JS_DupValue(ctx, reason);
    rejection_count++;
}

static void report_rejection(struct rejection rejection)
{
    JSValue handler = bridge_rejection_handler(context);
    JSValue returned;

    if (!JS_IsFunction(context, handler))
        die_of_value(context, "thimble: unhandled promise rejection: ", rejection.reason);
    returned = JS_Call(context, handler, JS_UNDEFINED, 1, &rejection.reason);
    if (JS_IsException(returned))
        die_of_exception(context);
    JS_FreeValue(context, returned);
    JS_FreeValue(context, handler);
    JS_FreeValue(context, rejection.promise);
    JS_FreeValue(context, rejection.reason);
}

int run_jobs(void)
{
    JSContext *ctx;
    int ran = 0;

    for (;;) {
        int result = JS_ExecutePendingJob(runtime, &ctx);
        if (result < 0)
            die_of_exception(ctx);
        if (result > 0) {
            ran++;
        } else if (rejection_count > 0) {
            report_rejection(rejections[--rejection_count]);
        } else {
            return ran;
        }
    }
}

void jobs_init(void)
{
    JS_SetHostPromiseRejectionTracker(runtime, track_rejection, NULL);
}
