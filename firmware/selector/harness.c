/*
 * The selector as a program of the build machine, for its test (src/image/selector/selector.test.ts): the flash is a file
 * mapped where the flash of a server is, UEFI's tables have functions that say what they are asked for.
 *   harness flash|drive FILE VARIABLE OUTCOME...
 * FILE holds the two banks, in the flash or as partitions 2 and 3 of a drive; VARIABLE is ThimbleBoot in hexadecimal, or "-"; OUTCOME is "store" or "refuse-store" for
 * the variable, then "load" or "refuse-load", and "run" or "return" for the images.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "selector.c"

static const char *variable;
static int stores, loads, runs;

static status_t EFIAPI output_string(struct text_output *self, const uint16_t *text)
{
    (void)self;
    for (; *text; text++)
        putchar(*text < 0x80 ? *text : '?');
    return EFI_SUCCESS;
}

static status_t EFIAPI get_variable(const uint16_t *name, const struct guid *guid, uint32_t *attributes, size_t *size,
                                    void *data)
{
    size_t i, length = strcmp(variable, "-") ? strlen(variable) / 2 : 0;

    (void)name, (void)guid;
    if (length == 0)
        return EFI_ERROR(14); /* not found */
    if (length > *size) {
        *size = length;
        return EFI_ERROR(5); /* buffer too small */
    }
    for (i = 0; i < length; i++) {
        unsigned octet;
        sscanf(variable + 2 * i, "%2x", &octet);
        ((uint8_t *)data)[i] = octet;
    }
    *size = length;
    *attributes = ATTRIBUTES;
    return EFI_SUCCESS;
}

static status_t EFIAPI set_variable(const uint16_t *name, const struct guid *guid, uint32_t attributes, size_t size,
                                    const void *data)
{
    size_t i;

    (void)guid, (void)attributes;
    printf("[set ");
    for (i = 0; name[i]; i++)
        putchar(name[i]);
    putchar(' ');
    for (i = 0; i < size; i++)
        printf("%02x", ((const uint8_t *)data)[i]);
    puts("]");
    return stores || name == running_name ? EFI_SUCCESS : EFI_ERROR(9);
}

static status_t EFIAPI load_image(uint8_t policy, void *parent, const void *path, const void *source, size_t size,
                                  void **image)
{
    const struct memory_path *memory = path;

    (void)policy, (void)parent;
    if (memory->start != (uintptr_t)source || memory->end != memory->start + size - 1)
        abort();
    printf("[load %llx %zu]\n", (unsigned long long)memory->start, size);
    *image = (void *)source;
    return loads ? EFI_SUCCESS : EFI_ERROR(26);
}

static status_t EFIAPI start_image(void *image, size_t *exit_data_size, uint16_t **exit_data)
{
    (void)exit_data_size, (void)exit_data;
    printf("[start %llx]\n", (unsigned long long)(uintptr_t)image);
    if (runs) {
        fflush(stdout);
        exit(0);
    }
    return EFI_ERROR(1);
}

static status_t EFIAPI unload_image(void *image)
{
    printf("[unload %llx]\n", (unsigned long long)(uintptr_t)image);
    return EFI_SUCCESS;
}

/* Handles are numbers: 1 is the selector, then partitions 1 to 3 of its drive, partition 2 of another, and the drive itself. */
#define SELF 1
#define HANDLES 5
static int is_drive, file;
static struct {
    uint8_t drive[8];
    struct path_node node;
    uint8_t rest[34], end[4];
} paths[HANDLES];
static struct block_media media = { .id = 7, .block_size = 512, .last_block = BANK_SIZE / 512 - 1 };
static struct block_io ios[HANDLES];

static status_t EFIAPI read_blocks(struct block_io *self, uint32_t id, uint64_t block, size_t size, void *buffer)
{
    unsigned bank = self - ios - 1;

    if (id != media.id || size % media.block_size || block + size / media.block_size > media.last_block + 1 || bank >= BANKS)
        abort();
    return pread(file, buffer, size, bank * (off_t)BANK_SIZE + block * media.block_size) == (ssize_t)size ? EFI_SUCCESS
                                                                                                          : EFI_ERROR(7);
}

static status_t EFIAPI handle_protocol(void *handle, const struct guid *protocol, void **interface)
{
    static struct loaded_image self = { .device = (void *)2 };
    uintptr_t number = (uintptr_t)handle;

    if (protocol == &loaded_image_protocol && number == SELF)
        *interface = &self;
    else if (!is_drive || number < 2 || number >= 2 + HANDLES)
        return EFI_ERROR(3);
    else if (protocol == &device_path_protocol)
        *interface = &paths[number - 2];
    else
        *interface = &ios[number - 2];
    return EFI_SUCCESS;
}

static status_t EFIAPI locate_handle(unsigned search, const struct guid *protocol, void *key, size_t *size, void **buffer)
{
    uintptr_t i;

    (void)search, (void)protocol, (void)key;
    for (i = 0; i < HANDLES; i++)
        buffer[i] = (void *)(HANDLES + 1 - i);
    *size = HANDLES * sizeof(void *);
    return EFI_SUCCESS;
}

static status_t EFIAPI allocate_pages(unsigned kind, unsigned memory_type, size_t pages, uint64_t *address)
{
    static uintptr_t next = FIRST_BANK;

    (void)kind, (void)memory_type;
    if (mmap((void *)next, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
        MAP_FAILED)
        return EFI_ERROR(9);
    *address = next;
    next += pages * 4096;
    return EFI_SUCCESS;
}

static void make_drive(void)
{
    static const uint8_t end[4] = { 0x7f, 0xff, 4, 0 };
    unsigned i;

    for (i = 0; i < HANDLES; i++) {
        paths[i].drive[0] = 3;
        paths[i].drive[2] = sizeof(paths[i].drive);
        paths[i].drive[4] = i == 3; /* another drive */
        paths[i].node = (struct path_node){ 4, 1, { sizeof(struct path_node) + sizeof(paths[i].rest), 0 }, i < 3 ? i + 1 : 2 };
        memcpy(paths[i].end, end, 4);
        if (i == 4)
            memcpy(&paths[i].node, end, 4); /* the whole drive */
        ios[i] = (struct block_io){ .media = &media, .read_blocks = read_blocks };
    }
}

int main(int argc, char **argv)
{
    static struct text_output output = { NULL, output_string };
    static struct boot_services boot;
    static struct runtime_services runtime;
    static struct system_table table;

    if (argc != 7 || (file = open(argv[2], O_RDONLY)) < 0)
        return 64;
    is_drive = strcmp(argv[1], "drive") == 0;
    make_drive();
    if (!is_drive && mmap((void *)(uintptr_t)FIRST_BANK, BANKS * BANK_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE,
                          file, 0) == MAP_FAILED)
        return 65;
    variable = argv[3];
    stores = strcmp(argv[4], "store") == 0;
    loads = strcmp(argv[5], "load") == 0;
    runs = strcmp(argv[6], "run") == 0;
    boot.handle_protocol = handle_protocol;
    boot.locate_handle = locate_handle;
    boot.allocate_pages = allocate_pages;
    boot.load_image = load_image;
    boot.start_image = start_image;
    boot.unload_image = unload_image;
    runtime.get_variable = get_variable;
    runtime.set_variable = set_variable;
    table.output = &output;
    table.boot = &boot;
    table.runtime = &runtime;
    printf("[end %llx]\n", (unsigned long long)efi_main((void *)SELF, &table));
    return 0;
}
