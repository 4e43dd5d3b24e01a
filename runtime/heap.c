/*
 * The engine's memory. It asks for some twenty thousand small blocks and is always under the runtime lock, so pages of
 * equal blocks without headers or locks take a fourth less memory than the C library's malloc. Larger blocks are runs of
 * whole pages between them; what is larger still, or has no room, is malloc's.
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
#define SMALL_MAX 1024
#define CLASSES 36
#define RUN_MAX (32 * PAGE_SIZE)
/* As the engine's own functions count; it decides by this when to collect cycles. */
#define OVERHEAD 8
/* A role's start makes no cycles to speak of: the first look for them comes when it is over (src/sys/heap.ts). */
#define FIRST_GC_SIZE (2 * 1024 * 1024)

struct block {
    struct block *next;
};

/* In steps of 8 bytes to 128, of 16 to 256, of 32 to 512; then what is left of a page divided by 7, 6, 5 and 4. */
static struct block *free_blocks[CLASSES];
/* The page that each class takes its blocks from, as far as it has been used. */
static uint8_t *fresh[CLASSES], *fresh_end[CLASSES];
static uint8_t page_class[REGION_SIZE / PAGE_SIZE];
/* Other classes: a free page, the first page of a run, its other pages. */
#define FREE_PAGE 0xff
#define RUN 0xfe
#define RUN_REST 0xfd
/* Blocks of a page that are in use; pages of a run. */
static uint16_t page_live[REGION_SIZE / PAGE_SIZE];
static size_t free_pages;
static uint8_t *region, *next_page;

static const uint16_t large_sizes[] = { 584, 680, 816, 1024 };

static unsigned class_of(size_t size)
{
    unsigned class = 32;

    if (size <= 128)
        return size ? (size - 1) / 8 : 0;
    if (size <= 256)
        return 16 + (size - 129) / 16;
    if (size <= 512)
        return 24 + (size - 257) / 32;
    while (size > large_sizes[class - 32])
        class++;
    return class;
}

static size_t size_of(unsigned class)
{
    if (class < 16)
        return (class + 1) * 8;
    if (class < 24)
        return 128 + (class - 15) * 16;
    if (class < 32)
        return 256 + (class - 23) * 32;
    return large_sizes[class - 32];
}

static size_t page_of(const void *block)
{
    return ((const uint8_t *)block - region) / PAGE_SIZE;
}

static int in_region(const void *block)
{
    return (uintptr_t)block - (uintptr_t)region < REGION_SIZE;
}

static size_t usable_size(const void *block)
{
    size_t page = page_of(block);

    if (!block)
        return 0;
    if (!in_region(block))
        return malloc_usable_size((void *)block);
    return page_class[page] == RUN ? page_live[page] * PAGE_SIZE : size_of(page_class[page]);
}

static size_t pages_for(size_t size)
{
    return (size + PAGE_SIZE - 1) / PAGE_SIZE;
}

/* The first of so many pages in a row; null when the region has none. */
static uint8_t *take_pages(size_t count)
{
    size_t page, pages = page_of(next_page), row = 0;
    uint8_t *start = next_page;

    for (page = 0; free_pages >= count && page < pages; page++) {
        row = page_class[page] == FREE_PAGE ? row + 1 : 0;
        if (row == count) {
            free_pages -= count;
            return region + (page + 1 - count) * PAGE_SIZE;
        }
    }
    if ((size_t)(region + REGION_SIZE - next_page) < count * PAGE_SIZE)
        return NULL;
    next_page += count * PAGE_SIZE;
    return start;
}

static void free_run(size_t page, size_t count)
{
    memset(page_class + page, FREE_PAGE, count);
    free_pages += count;
}

static void *take_run(size_t size)
{
    size_t count = pages_for(size);
    uint8_t *start = take_pages(count);

    if (!start)
        return malloc(size);
    page_class[page_of(start)] = RUN;
    memset(page_class + page_of(start) + 1, RUN_REST, count - 1);
    page_live[page_of(start)] = count;
    return start;
}

static void *take_small(size_t size)
{
    unsigned class = class_of(size);
    size_t step = size_of(class);
    struct block *block = free_blocks[class];

    if (block) {
        free_blocks[class] = block->next;
    } else {
        if ((size_t)(fresh_end[class] - fresh[class]) < step) {
            fresh[class] = take_pages(1);
            fresh_end[class] = fresh[class] + (fresh[class] ? PAGE_SIZE : 0);
            if (!fresh[class])
                return malloc(size);
            page_class[page_of(fresh[class])] = class;
        }
        block = (struct block *)fresh[class];
        fresh[class] += step;
    }
    page_live[page_of(block)]++;
    return block;
}

static void *take(size_t size)
{
    if (size <= SMALL_MAX)
        return take_small(size);
    return size <= RUN_MAX ? take_run(size) : malloc(size);
}

static void give(void *block)
{
    size_t page = page_of(block);

    if (!in_region(block)) {
        free(block);
    } else if (page_class[page] == RUN) {
        free_run(page, page_live[page]);
    } else {
        struct block *freed = block;
        page_live[page]--;
        freed->next = free_blocks[page_class[page]];
        free_blocks[page_class[page]] = freed;
    }
}

/* Makes a block larger or smaller where it is. */
static int resize_in_place(void *block, size_t size)
{
    size_t page = page_of(block), count;

    if (!in_region(block))
        return 0;
    if (page_class[page] != RUN)
        return size <= SMALL_MAX && class_of(size) == page_class[page];
    count = pages_for(size);
    if (size <= SMALL_MAX || count > page_live[page])
        return 0;
    if (count < page_live[page])
        free_run(page + count, page_live[page] - count);
    page_live[page] = count;
    return 1;
}

static int is_empty(size_t page, unsigned class)
{
    return page_live[page] == 0 && !(fresh_end[class] && page == page_of(fresh_end[class] - 1));
}

void heap_trim(void)
{
    size_t page, first, pages = page_of(next_page);
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
        if (page_class[page] < CLASSES && is_empty(page, page_class[page]))
            free_run(page, 1);
    }
    for (page = 0; page < pages; page++) {
        for (first = page; page < pages && page_class[page] == FREE_PAGE; page++)
            ;
        if (page > first)
            madvise(region + first * PAGE_SIZE, (page - first) * PAGE_SIZE, MADV_DONTNEED);
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
    if (in_region(block) || size <= RUN_MAX) {
        moved = block;
        if (!resize_in_place(block, size)) {
            moved = take(size);
            if (moved) {
                memcpy(moved, block, old < size ? old : size);
                give(block);
            }
        }
    } else {
        moved = realloc(block, size);
    }
    if (moved)
        state->malloc_size += usable_size(moved) - old;
    return moved;
}

JSRuntime *heap_new_runtime(void)
{
    static const JSMallocFunctions functions = { heap_malloc, heap_free, heap_realloc, usable_size };
    JSRuntime *rt;

    region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return NULL;
    /* Of a huge page most would lie idle. */
    madvise(region, REGION_SIZE, MADV_NOHUGEPAGE);
    next_page = region;
    rt = JS_NewRuntime2(&functions, NULL);
    if (rt)
        JS_SetGCThreshold(rt, FIRST_GC_SIZE);
    return rt;
}
