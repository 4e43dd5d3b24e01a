/*
 * The engine's memory. It asks for some twenty thousand small blocks and is always under the runtime lock, so pages of
 * equal blocks without headers or locks take a fourth less memory than the C library's malloc, which is there for
 * larger blocks and for when the region is full.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime.h"

/* Address space only: pages take memory when they are used. */
#define REGION_SIZE (256UL * 1024 * 1024)
#define PAGE_SIZE 4096UL
#define SMALL_MAX 512
#define CLASSES 32
/* As the engine's own functions count; it decides by this when to collect cycles. */
#define OVERHEAD 8

struct block {
    struct block *next;
};

/* In steps of 8 bytes to 128, of 16 to 256, of 32 to 512. */
static struct block *free_blocks[CLASSES];
/* The page that each class takes its blocks from, as far as it has been used. */
static uint8_t *fresh[CLASSES], *fresh_end[CLASSES];
static uint8_t page_class[REGION_SIZE / PAGE_SIZE];
/* Blocks of a page that are in use. */
static uint16_t page_live[REGION_SIZE / PAGE_SIZE];
/* The class of a page that has none: heap_trim() gave its memory back. */
#define NO_CLASS 0xff
static size_t classless_pages;
static uint8_t *region, *next_page;

static unsigned class_of(size_t size)
{
    if (size <= 128)
        return size ? (size - 1) / 8 : 0;
    if (size <= 256)
        return 16 + (size - 129) / 16;
    return 24 + (size - 257) / 32;
}

static size_t size_of(unsigned class)
{
    if (class < 16)
        return (class + 1) * 8;
    if (class < 24)
        return 128 + (class - 15) * 16;
    return 256 + (class - 23) * 32;
}

static size_t page_of(const void *block)
{
    return ((const uint8_t *)block - region) / PAGE_SIZE;
}

static int is_small(const void *block)
{
    return (uintptr_t)block - (uintptr_t)region < REGION_SIZE;
}

static size_t usable_size(const void *block)
{
    if (!block)
        return 0;
    if (is_small(block))
        return size_of(page_class[page_of(block)]);
    return malloc_usable_size((void *)block);
}

/* Null when the region is full. */
static uint8_t *take_page(unsigned class)
{
    uint8_t *page = next_page, *found;

    if (classless_pages) {
        found = memchr(page_class, NO_CLASS, page_of(next_page));
        page = region + (found - page_class) * PAGE_SIZE;
        classless_pages--;
    } else if (next_page == region + REGION_SIZE) {
        return NULL;
    } else {
        next_page += PAGE_SIZE;
    }
    page_class[page_of(page)] = class;
    return page;
}

static void *take(size_t size)
{
    unsigned class;
    size_t step;
    struct block *block;

    if (size > SMALL_MAX)
        return malloc(size);
    class = class_of(size);
    block = free_blocks[class];
    if (block) {
        free_blocks[class] = block->next;
    } else {
        step = size_of(class);
        if ((size_t)(fresh_end[class] - fresh[class]) < step) {
            fresh[class] = take_page(class);
            fresh_end[class] = fresh[class] + (fresh[class] ? PAGE_SIZE : 0);
            if (!fresh[class])
                return malloc(size);
        }
        block = (struct block *)fresh[class];
        fresh[class] += step;
    }
    page_live[page_of(block)]++;
    return block;
}

static void give(void *block)
{
    if (is_small(block)) {
        size_t page = page_of(block);
        unsigned class = page_class[page];
        page_live[page]--;
        ((struct block *)block)->next = free_blocks[class];
        free_blocks[class] = block;
    } else {
        free(block);
    }
}

static int is_empty(size_t page, unsigned class)
{
    return page_live[page] == 0 && !(fresh_end[class] && page == page_of(fresh_end[class] - 1));
}

void heap_trim(void)
{
    size_t page, pages = page_of(next_page);
    unsigned class;

    for (class = 0; class < CLASSES; class++) {
        struct block **link = &free_blocks[class];
        while (*link) {
            if (is_empty(page_of(*link), class))
                *link = (*link)->next;
            else
                link = &(*link)->next;
        }
    }
    for (page = 0; page < pages; page++) {
        if (page_class[page] == NO_CLASS || !is_empty(page, page_class[page]))
            continue;
        page_class[page] = NO_CLASS;
        classless_pages++;
        madvise(region + page * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED);
    }
}

static void *heap_malloc(JSMallocState *state, size_t size)
{
    void *block = take(size);

    if (block) {
        state->malloc_count++;
        state->malloc_size += usable_size(block) + OVERHEAD;
    }
    return block;
}

static void heap_free(JSMallocState *state, void *block)
{
    if (!block)
        return;
    state->malloc_count--;
    state->malloc_size -= usable_size(block) + OVERHEAD;
    give(block);
}

static void *heap_realloc(JSMallocState *state, void *block, size_t size)
{
    size_t old = usable_size(block);
    void *moved;

    if (!block)
        return size ? heap_malloc(state, size) : NULL;
    if (!size) {
        heap_free(state, block);
        return NULL;
    }
    if (!is_small(block) && size > SMALL_MAX) {
        moved = realloc(block, size);
    } else {
        if (is_small(block) && size <= SMALL_MAX && size_of(class_of(size)) == old)
            return block;
        moved = take(size);
        if (moved) {
            memcpy(moved, block, old < size ? old : size);
            give(block);
        }
    }
    if (moved)
        state->malloc_size += usable_size(moved) - old;
    return moved;
}

JSRuntime *heap_new_runtime(void)
{
    static const JSMallocFunctions functions = { heap_malloc, heap_free, heap_realloc, usable_size };

    region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return NULL;
    /* Of a huge page most would lie idle. */
    madvise(region, REGION_SIZE, MADV_NOHUGEPAGE);
    next_page = region;
    return JS_NewRuntime2(&functions, NULL);
}
