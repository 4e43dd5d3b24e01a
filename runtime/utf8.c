/* Strings from and to UTF-8, with malformed input replaced by U+FFFD as the Encoding Standard has it. */
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

/*
 * How many bytes at p make one valid character. When none do, returns 0 and sets *bad to the length of the
 * longest prefix that could have begun one (at least 1). Table 3-7 of the Unicode Standard.
 */
static size_t character_length(const uint8_t *p, const uint8_t *end, size_t *bad)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t length, i;

    if (*p < 0x80)
        return 1;
    *bad = 1;
    if (*p < 0xc2 || *p > 0xf4)
        return 0;
    length = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (*p == 0xe0)
        low = 0xa0;
    else if (*p == 0xed)
        high = 0x9f;
    else if (*p == 0xf0)
        low = 0x90;
    else if (*p == 0xf4)
        high = 0x8f;
    for (i = 1; i < length; i++) {
        if (p + i == end || p[i] < low || p[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

JSValue utf8_decode(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    uint8_t *bytes, *clean, *out;
    const uint8_t *p, *end;
    size_t size, bad, length;
    JSValue text;

    (void)self;
    if (argc != 1 || !engine_memory(argv[0], &bytes, &size))
        return JS_ThrowTypeError(ctx, "utf8Decode takes bytes");
    end = bytes + size;
    for (p = bytes; p < end; p += length) {
        length = character_length(p, end, &bad);
        if (length == 0)
            break;
    }
    if (p == end)
        return JS_NewStringLen(ctx, (const char *)bytes, size);
    clean = malloc(size * 3); /* each malformed byte may become the three bytes of U+FFFD */
    if (!clean)
        return JS_ThrowOutOfMemory(ctx);
    out = clean;
    for (p = bytes; p < end;) {
        length = character_length(p, end, &bad);
        if (length > 0) {
            memcpy(out, p, length);
            out += length;
            p += length;
        } else {
            memcpy(out, "\xef\xbf\xbd", 3);
            out += 3;
            p += bad;
        }
    }
    text = JS_NewStringLen(ctx, (const char *)clean, out - clean);
    free(clean);
    return text;
}

static void free_bytes(JSRuntime *rt, void *opaque, void *bytes)
{
    (void)opaque;
    js_free_rt(rt, bytes);
}

JSValue utf8_encode(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    const char *text;
    uint8_t *bytes;
    size_t size, i;
    JSValue array_arguments[3], array;

    (void)self;
    if (argc != 1 || !JS_IsString(argv[0]))
        return JS_ThrowTypeError(ctx, "utf8Encode takes a string");
    text = JS_ToCStringLen(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    bytes = js_malloc(ctx, size ? size : 1);
    if (!bytes) {
        JS_FreeCString(ctx, text);
        return JS_EXCEPTION;
    }
    memcpy(bytes, text, size);
    JS_FreeCString(ctx, text);
    /* The engine writes a lone surrogate as three bytes ED A0..BF xx. */
    for (i = 0; i + 2 < size; i++) {
        if (bytes[i] == 0xed && bytes[i + 1] >= 0xa0)
            memcpy(bytes + i, "\xef\xbf\xbd", 3);
    }
    array_arguments[0] = JS_NewArrayBuffer(ctx, bytes, size, free_bytes, NULL, 0);
    if (JS_IsException(array_arguments[0])) {
        js_free(ctx, bytes);
        return JS_EXCEPTION;
    }
    array_arguments[1] = JS_UNDEFINED;
    array_arguments[2] = JS_UNDEFINED;
    array = JS_NewTypedArray(ctx, 3, array_arguments, JS_TYPED_ARRAY_UINT8);
    JS_FreeValue(ctx, array_arguments[0]);
    return array;
}
