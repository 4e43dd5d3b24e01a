/*
 * The selector as a program of the build machine, for its test (src/image/selector/selector.test.ts): the flash is a file
 * mapped where the flash of a server is, UEFI's tables have functions that say what they are asked for.
 *   harness FLASH VARIABLE OUTCOME...
 * FLASH holds the two banks; VARIABLE is ThimbleBoot in hexadecimal, or "-"; OUTCOME is "store" or "refuse-store" for
 * the variable, then "load" or "refuse-load", and "run" or "return" for the images.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

int main(int argc, char **argv)
{
    static struct text_output output = { NULL, output_string };
    static struct boot_services boot;
    static struct runtime_services runtime;
    static struct system_table table;
    int fd;

    if (argc != 6 || (fd = open(argv[1], O_RDONLY)) < 0)
        return 64;
    if (mmap((void *)(uintptr_t)FIRST_BANK, BANKS * BANK_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0) ==
        MAP_FAILED)
        return 65;
    variable = argv[2];
    stores = strcmp(argv[3], "store") == 0;
    loads = strcmp(argv[4], "load") == 0;
    runs = strcmp(argv[5], "run") == 0;
    boot.load_image = load_image;
    boot.start_image = start_image;
    boot.unload_image = unload_image;
    runtime.get_variable = get_variable;
    runtime.set_variable = set_variable;
    table.output = &output;
    table.boot = &boot;
    table.runtime = &runtime;
    printf("[end %llx]\n", (unsigned long long)efi_main(NULL, &table));
    return 0;
}
