/*
 * Build tool: compiles a module to the engine's bytecode.
 *   compile NAME strip|keep INPUT.js OUTPUT.bin
 * NAME is what stack traces show; `strip` drops source text, line tables and local names, `keep` only the source text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/*
 * The runtime can run bytecode in place only when each name of the script gets the number it was written with. Names
 * are numbered as they come, and one is there before the script is read, so it has to be the script's first. A module's
 * first name is its own, which only stack traces of a build with `keep` show.
 */
#define FIRST_NAME "AggregateError"
static const char prefix[] = FIRST_NAME ";";

/* The file's text behind `prefix`. */
static char *read_whole(const char *path, const char *prefix, size_t *size)
{
    size_t prefix_length = strlen(prefix);
    FILE *file = fopen(path, "rb");
    char *text;
    long length;

    if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        return NULL;
    text = malloc(prefix_length + length + 1);
    if (!text || fread(text + prefix_length, 1, length, file) != (size_t)length)
        return NULL;
    memcpy(text, prefix, prefix_length);
    *size = prefix_length + length;
    text[*size] = 0; /* the engine wants it */
    fclose(file);
    return text;
}

static int fail(JSContext *ctx, const char *what)
{
    JSValue exception = JS_GetException(ctx);
    const char *text = JS_ToCString(ctx, exception);
    JSValue stack = JS_GetPropertyStr(ctx, exception, "stack");
    const char *where = JS_ToCString(ctx, stack);

    fprintf(stderr, "%s: %s\n%s", what, text ? text : "(not printable)", where ? where : "");
    return 1;
}

int main(int argc, char **argv)
{
    JSRuntime *rt;
    JSContext *ctx;
    JSValue script;
    FILE *out;
    char *source;
    uint8_t *bytecode;
    size_t source_size, bytecode_size;
    int is_stripped;

    if (argc != 5) {
        fprintf(stderr, "usage: compile NAME strip|keep INPUT.js OUTPUT.bin\n");
        return 64;
    }
    source = read_whole(argv[3], prefix, &source_size);
    if (!source) {
        perror(argv[3]);
        return 1;
    }
    rt = JS_NewRuntime();
    is_stripped = strcmp(argv[2], "strip") == 0;
    JS_SetStripInfo(rt, is_stripped ? JS_STRIP_DEBUG : JS_STRIP_SOURCE);
    ctx = JS_NewContext(rt);
    script = JS_Eval(ctx, source, source_size, is_stripped ? FIRST_NAME : argv[1], JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(script))
        return fail(ctx, argv[3]);
    bytecode = JS_WriteObject(ctx, &bytecode_size, script, JS_WRITE_OBJ_BYTECODE);
    if (!bytecode)
        return fail(ctx, argv[3]);
    out = fopen(argv[4], "wb");
    if (!out || fwrite(bytecode, 1, bytecode_size, out) != bytecode_size || fclose(out)) {
        perror(argv[4]);
        return 1;
    }
    return 0;
}
