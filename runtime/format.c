/*
 * In the place of the C library's formatted output, of which the engine uses a small part for messages and dates:
 * %d %u %x %X %c %s %%, with the flags 0 and +, width, precision and the length modifiers l, ll and z. The library's
 * own brings floating point, wide characters and error texts along: 8 KB of the compressed image.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct output {
    char *buffer;
    size_t size;
    size_t length; /* of the whole text, also where it no longer fits */
};

static void put(struct output *out, char c)
{
    if (out->length + 1 < out->size)
        out->buffer[out->length] = c;
    out->length++;
}

static void put_padded(struct output *out, const char *text, size_t length, size_t width, char padding)
{
    for (; width > length; width--)
        put(out, padding);
    while (length--)
        put(out, *text++);
}

static void put_number(struct output *out, uint64_t value, int negative, int plus, unsigned base, int capital,
                       size_t width, char padding)
{
    const char *digits = capital ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    char *start = text + sizeof(text);
    char sign = negative ? '-' : plus ? '+' : 0;

    do {
        *--start = digits[value % base];
        value /= base;
    } while (value);
    if (sign && padding == '0') {
        put(out, sign);
        width -= width > 0;
    } else if (sign) {
        *--start = sign;
    }
    put_padded(out, start, text + sizeof(text) - start, width, padding);
}

/* Reads a width or precision: digits, or `*` for one given as an argument. */
static const char *read_count(const char *format, int *count, int argument)
{
    if (*format == '*') {
        *count = argument;
        return format + 1;
    }
    for (*count = 0; *format >= '0' && *format <= '9'; format++)
        *count = *count * 10 + (*format - '0');
    return format;
}

int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
{
    struct output out = { buffer, size, 0 };

    for (; *format; format++) {
        char padding = ' ';
        int plus = 0, longs = 0, width, precision = -1;
        const char *text;
        size_t length;
        int64_t value;

        if (*format != '%') {
            put(&out, *format);
            continue;
        }
        for (format++; *format == '0' || *format == '+'; format++) {
            if (*format == '0')
                padding = '0';
            else
                plus = 1;
        }
        format = read_count(format, &width, *format == '*' ? va_arg(arguments, int) : 0);
        if (*format == '.') {
            format++;
            format = read_count(format, &precision, *format == '*' ? va_arg(arguments, int) : 0);
        }
        for (; *format == 'l' || *format == 'z'; format++)
            longs = 1;
        switch (*format) {
        case 'd':
            value = longs ? va_arg(arguments, long) : va_arg(arguments, int);
            put_number(&out, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0, plus, 10, 0, width, padding);
            break;
        case 'u':
        case 'x':
        case 'X':
            value = longs ? va_arg(arguments, long) : (long)va_arg(arguments, unsigned);
            put_number(&out, value, 0, 0, *format == 'u' ? 10 : 16, *format == 'X', width, padding);
            break;
        case 'c':
            put(&out, va_arg(arguments, int));
            break;
        case 's':
            text = va_arg(arguments, const char *);
            if (!text)
                text = "(null)";
            length = precision >= 0 ? strnlen(text, precision) : strlen(text);
            put_padded(&out, text, length, width, ' ');
            break;
        case '%':
            put(&out, '%');
            break;
        default: /* none that the engine uses: better seen than guessed */
            abort();
        }
    }
    if (size > 0)
        buffer[out.length < size ? out.length : size - 1] = 0;
    return out.length;
}

int snprintf(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

/* assert() of the engine. */
_Noreturn void __assert_fail(const char *expression, const char *file, int line, const char *function)
{
    char text[256];
    int length = snprintf(text, sizeof(text), "thimble: assertion failed: %s (%s, %s:%d)\n", expression, function, file, line);

    if (length > (int)sizeof(text) - 1)
        length = sizeof(text) - 1;
    if (write(2, text, length) < 0)
        abort();
    abort();
}
