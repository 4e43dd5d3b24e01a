/* QuickJS as it is, and functions that need to see its private structures (engine.h). */
#include "quickjs.h"

/*
 * The interpreter's loop and the ways into it are compiled for speed even when the rest is compiled for size: nearly
 * all of the speed for 3 KB of the image. GCC merges the attribute of this first declaration with those that follow.
 */
#define FOR_SPEED __attribute__((optimize("O2")))
FOR_SPEED static JSValue JS_CallInternal(JSContext *caller_ctx, JSValueConst func_obj, JSValueConst this_obj,
                                         JSValueConst new_target, int argc, JSValue *argv, int flags);
FOR_SPEED static JSValue js_call_c_function(JSContext *ctx, JSValueConst func_obj, JSValueConst this_obj, int argc,
                                            JSValueConst *argv, int flags);
FOR_SPEED static JSValue JS_GetPropertyValue(JSContext *ctx, JSValueConst this_obj, JSValue prop);
FOR_SPEED JSValue JS_GetPropertyInternal(JSContext *ctx, JSValueConst obj, JSAtom prop, JSValueConst this_obj,
                                         JS_BOOL throw_ref_error);

#include "quickjs.c"

#include "engine.h"
#include "libunicode.h"

JSContext *engine_new_context(JSRuntime *rt)
{
    return JS_NewContextRaw(rt);
}

/*
 * Called before the standard objects make atoms of their own: then the script's atoms get the numbers that its
 * bytecode was written with (compile.c), and QuickJS runs it in place instead of copying it: one copy of the bytecode
 * in memory for all processes of the host. Were a number different, QuickJS would notice and copy.
 */
JSValue engine_read_script(JSContext *ctx, const uint8_t *bytes, size_t size)
{
    return JS_ReadObject(ctx, bytes, size, JS_READ_OBJ_BYTECODE | JS_READ_OBJ_ROM_DATA);
}

/*
 * Nothing finds a module by its name here, so its record goes as soon as it has run: what stays is what its functions
 * and exports hold. A module that waits (top-level await) would still need the record, so it is refused.
 */
JSValue engine_run_module(JSContext *ctx, JSValue script)
{
    JSModuleDef *module;
    JSValue promise, result = JS_EXCEPTION;

    if (JS_IsException(script) || JS_ResolveModule(ctx, script) < 0)
        return JS_EXCEPTION; /* an unresolved module is freed with the error */
    module = JS_VALUE_GET_PTR(script);
    promise = JS_EvalFunction(ctx, script);
    if (JS_PromiseState(ctx, promise) == JS_PROMISE_FULFILLED)
        result = JS_GetModuleNamespace(ctx, module);
    else if (JS_PromiseState(ctx, promise) == JS_PROMISE_REJECTED)
        JS_Throw(ctx, JS_PromiseResult(ctx, promise));
    else if (!JS_IsException(promise))
        JS_ThrowTypeError(ctx, "a module of the image cannot wait");
    if (JS_PromiseState(ctx, promise) != JS_PROMISE_PENDING)
        js_free_module_def(ctx, module);
    JS_FreeValue(ctx, promise);
    return result;
}

/*
 * Linked in the place of libunicode's functions (-Wl,--wrap, src/image/runtime/engine.ts): a regular expression with
 * \p{...} is refused, when the bundle is compiled, and 20 KB of Unicode tables stay out of the image.
 */
#define PROPERTY_UNKNOWN (-2)

int __wrap_unicode_script(CharRange *out, const char *name, BOOL extended)
{
    (void)out, (void)name, (void)extended;
    return PROPERTY_UNKNOWN;
}

int __wrap_unicode_general_category(CharRange *out, const char *name)
{
    (void)out, (void)name;
    return PROPERTY_UNKNOWN;
}

int __wrap_unicode_prop(CharRange *out, const char *name)
{
    (void)out, (void)name;
    return PROPERTY_UNKNOWN;
}

/*
 * Also in the place of library functions: the host's time zone is UTC, and nobody needs trigonometry. The properties
 * of Math are deleted, so that a script that does is told so and none of these is ever called.
 */
struct tm *__wrap_localtime_r(const time_t *time, struct tm *out)
{
    (void)time;
    memset(out, 0, sizeof(*out)); /* the engine asks only for tm_gmtoff */
    return out;
}

#define LEFT_OUT(name) \
    double __wrap_##name(double x) \
    { \
        (void)x; \
        abort(); \
    }
#define FOR_EACH_LEFT_OUT(_) \
    _(sin) _(cos) _(tan) _(asin) _(acos) _(atan) _(sinh) _(cosh) _(tanh) _(asinh) _(acosh) _(atanh) \
    _(expm1) _(log1p) _(log10) _(cbrt)
FOR_EACH_LEFT_OUT(LEFT_OUT)

double __wrap_atan2(double y, double x)
{
    (void)y, (void)x;
    abort();
}

static void delete_left_out(JSContext *ctx)
{
#define LEFT_OUT_NAME(name) #name,
    static const char *const names[] = { FOR_EACH_LEFT_OUT(LEFT_OUT_NAME) "atan2" };
    JSValue math = JS_GetPropertyStr(ctx, ctx->global_obj, "Math");
    size_t i;

    for (i = 0; i < countof(names); i++) {
        JSAtom name = JS_NewAtom(ctx, names[i]);
        JS_DeleteProperty(ctx, math, name, 0);
        JS_FreeAtom(ctx, name);
    }
    JS_FreeValue(ctx, math);
}

void engine_add_intrinsics(JSContext *ctx)
{
    JS_AddIntrinsicBaseObjects(ctx);
#ifndef WITHOUT_DATE
    JS_AddIntrinsicDate(ctx);
#endif
#ifndef WITHOUT_JSON
    JS_AddIntrinsicJSON(ctx);
#endif
#ifndef WITHOUT_REGEXP
    JS_AddIntrinsicRegExp(ctx);
#endif
#ifdef WITH_PROXY
    JS_AddIntrinsicProxy(ctx);
#endif
    JS_AddIntrinsicMapSet(ctx);
    JS_AddIntrinsicTypedArrays(ctx);
    JS_AddIntrinsicPromise(ctx);
#ifdef WITH_WEAKREF
    JS_AddIntrinsicWeakRef(ctx);
#endif
#ifdef WITH_EVAL
    JS_AddIntrinsicEval(ctx);
#endif
#ifdef WITH_NORMALIZE
    JS_AddIntrinsicStringNormalize(ctx);
#endif
    delete_left_out(ctx);
}

int engine_memory(JSValueConst value, uint8_t **bytes, size_t *size)
{
    JSObject *object;

    if (JS_VALUE_GET_TAG(value) != JS_TAG_OBJECT)
        return 0;
    object = JS_VALUE_GET_OBJ(value);
    if (object->class_id == JS_CLASS_ARRAY_BUFFER || object->class_id == JS_CLASS_SHARED_ARRAY_BUFFER) {
        *bytes = object->u.array_buffer->data;
        *size = object->u.array_buffer->byte_length;
        return 1;
    }
    if (object->class_id >= JS_CLASS_UINT8C_ARRAY && object->class_id <= JS_CLASS_DATAVIEW) {
        const JSTypedArray *array = object->u.typed_array;
        const JSArrayBuffer *buffer = array->buffer->u.array_buffer;
        if (buffer->detached) {
            *bytes = NULL;
            *size = 0;
        } else {
            *bytes = buffer->data + array->offset;
            *size = array->length;
        }
        return 1;
    }
    return 0;
}

void engine_suspend(JSRuntime *rt, struct engine_thread *thread)
{
    thread->frame = rt->current_stack_frame;
}

void engine_resume(JSRuntime *rt, const struct engine_thread *thread)
{
    rt->current_stack_frame = thread->frame;
    rt->stack_top = thread->stack_base;
    rt->stack_size = thread->stack_size;
    update_stack_limit(rt);
}
