/* QuickJS as it is, and functions that need to see its private structures (engine.h). */
#include "quickjs.c"

#include "engine.h"

JSContext *engine_new_context(JSRuntime *rt)
{
    return JS_NewContextRaw(rt);
}

/*
 * Called before the standard objects make atoms of their own: then the script's atoms get the numbers that its
 * bytecode was written with, and QuickJS runs it in place instead of copying it (one copy of the bytecode in
 * memory for all processes of the host).
 */
JSValue engine_read_script(JSContext *ctx, const uint8_t *bytes, size_t size)
{
    return JS_ReadObject(ctx, bytes, size, JS_READ_OBJ_BYTECODE | JS_READ_OBJ_ROM_DATA);
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
