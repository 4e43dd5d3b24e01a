/*
 * The boot selector: an EFI application that finds two banks with an image each, takes the one that is to be started,
 * checks it, and hands it to UEFI (docs/boot-banks.md). Started from the firmware's volume, it looks for the banks in the
 * flash below it; started from a drive, in that drive's second and third partition.
 *
 * UEFI's LoadImage checks the image's signature as that of any program. The selector writes nothing but two variables. It
 * has no writable data and no pointers in its constants, so it runs wherever it is loaded.
 */
#include <stddef.h>
#include <stdint.h>

#define EFIAPI __attribute__((ms_abi))

typedef uint64_t status_t;
#define EFI_SUCCESS 0
#define EFI_ERROR(code) (0x8000000000000000ULL | (code))
#define EFI_LOAD_ERROR EFI_ERROR(1)

struct guid { uint32_t a; uint16_t b, c; uint8_t d[8]; };

/* The tables of UEFI 2.10, chapter 4, by the places of what is used. */
struct text_output {
    void *reset;
    status_t(EFIAPI *output_string)(struct text_output *self, const uint16_t *text);
};

struct boot_services {
    uint8_t header[24];
    void *unused0[2];
    status_t(EFIAPI *allocate_pages)(unsigned kind, unsigned memory_type, size_t pages, uint64_t *address);
    void *unused1[13];
    status_t(EFIAPI *handle_protocol)(void *handle, const struct guid *protocol, void **interface);
    void *unused2[2];
    status_t(EFIAPI *locate_handle)(unsigned search, const struct guid *protocol, void *key, size_t *size, void **buffer);
    void *unused3[2];
    status_t(EFIAPI *load_image)(uint8_t boot_policy, void *parent, const void *device_path, const void *source,
                                 size_t size, void **image);
    status_t(EFIAPI *start_image)(void *image, size_t *exit_data_size, uint16_t **exit_data);
    void *exit;
    status_t(EFIAPI *unload_image)(void *image);
};

struct runtime_services {
    uint8_t header[24];
    void *unused0[6];
    status_t(EFIAPI *get_variable)(const uint16_t *name, const struct guid *vendor, uint32_t *attributes, size_t *size,
                                   void *data);
    void *get_next_variable_name;
    status_t(EFIAPI *set_variable)(const uint16_t *name, const struct guid *vendor, uint32_t attributes, size_t size,
                                   const void *data);
};

struct system_table {
    uint8_t header[24];
    uint16_t *firmware_vendor;
    uint32_t firmware_revision;
    void *input_handle, *input, *output_handle;
    struct text_output *output;
    void *error_handle, *error;
    struct runtime_services *runtime;
    struct boot_services *boot;
};

/* EFI_LOADED_IMAGE_PROTOCOL (9.1.1) and EFI_BLOCK_IO_PROTOCOL (13.9), as far as needed. */
struct loaded_image { uint32_t revision; void *parent, *system, *device; };

struct block_media {
    uint32_t id;
    uint8_t is_removable, is_present, is_partition, is_read_only, caches_writes;
    uint32_t block_size, alignment;
    uint64_t last_block;
};

struct block_io {
    uint64_t revision;
    const struct block_media *media;
    void *reset;
    status_t(EFIAPI *read_blocks)(struct block_io *self, uint32_t media, uint64_t block, size_t size, void *buffer);
};

/* A node of a device path; that of a partition is the last before the end (10.3.5.1). */
struct path_node {
    uint8_t type, subtype;
    uint8_t length[2];
    uint32_t partition;
} __attribute__((packed));
#define NODE_PARTITION 0x0104 /* subtype, type */

static const struct guid loaded_image_protocol = { 0x5b1b31a1, 0x9562, 0x11d2, { 0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b } };
static const struct guid device_path_protocol = { 0x09576e91, 0x6d3f, 0x11d2, { 0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b } };
static const struct guid block_io_protocol = { 0x964e5b21, 0x6459, 0x11d2, { 0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b } };

/* Hardware device path of memory, and its end (UEFI 2.10, 10.3.2.3 and 10.3.1). */
struct memory_path {
    uint8_t type, subtype;
    uint16_t length;
    uint32_t memory_type;
    uint64_t start, end;
    uint8_t end_type, end_subtype;
    uint16_t end_length;
} __attribute__((packed));
#define MEMORY_MAPPED_IO 11

/* A bank as src/image/selector/bank.ts writes it; the image begins at IMAGE_OFFSET. */
struct bank {
    uint64_t magic;
    uint32_t header_version;
    uint32_t image_size;
    uint8_t image_version[32]; /* ASCII, filled up with zeros */
    uint8_t reserved[16];
    uint8_t digest[32]; /* SHA-256 of what is before it in the header and of the image */
};
#define MAGIC 0x4b4e41424d494854ULL /* "THIMBANK" */
#define HEADER_VERSION 1
#define IMAGE_OFFSET 4096

/* The flash ends at 4 GiB: two banks, and 4 MiB of UEFI above them. */
#define BANK_SIZE (6U << 20)
#define FIRST_BANK 0xff000000U
#define BANKS 2

/* The variable: which bank is wanted, and how often it may still be tried before it has to be confirmed. */
struct choice { uint8_t version, bank, tries, reserved; };
#define CHOICE_VERSION 1
#define CONFIRMED 0xff
#define ATTRIBUTES 7 /* non-volatile, seen while booting and by the host */
#define RUNNING_ATTRIBUTES 6 /* the same until power-off */

static const uint16_t choice_name[] = u"ThimbleBoot", running_name[] = u"ThimbleBank";
static const struct guid vendor = { 0x9d5e6a3c, 0x4b1f, 0x4e0a, { 0x8c, 0x57, 0x1f, 0x7b, 0x52, 0xc4, 0xa6, 0xd3 } };

static void say(struct system_table *system, const uint16_t *text)
{
    if (system->output)
        system->output->output_string(system->output, text);
}

static void say_bank(struct system_table *system, unsigned number, const uint16_t *text)
{
    uint16_t name[] = u"Thimble: bank A";

    name[14] += number;
    say(system, name);
    say(system, text);
}

static void say_version(struct system_table *system, const struct bank *bank)
{
    uint16_t text[sizeof(bank->image_version) + 1];
    unsigned i;

    for (i = 0; i < sizeof(bank->image_version) && bank->image_version[i] > ' ' && bank->image_version[i] < 0x7f; i++)
        text[i] = bank->image_version[i];
    text[i] = 0;
    say(system, text);
    say(system, u"\r\n");
}

/* SHA-256 (FIPS 180-4). */
struct sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
};

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value >> bits | value << (32 - bits);
}

static void sha256_block(struct sha256 *hash)
{
    uint32_t w[64], v[8], t1, t2;
    unsigned i;

    for (i = 0; i < 16; i++) {
        const uint8_t *at = hash->block + 4 * i;
        w[i] = (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
    }
    for (; i < 64; i++) {
        t1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        t2 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        w[i] = w[i - 16] + w[i - 7] + t1 + t2;
    }
    for (i = 0; i < 8; i++)
        v[i] = hash->state[i];
    for (i = 0; i < 64; i++) {
        t1 = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
             round_constants[i] + w[i];
        t2 = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        v[7] = v[6], v[6] = v[5], v[5] = v[4], v[4] = v[3] + t1;
        v[3] = v[2], v[2] = v[1], v[1] = v[0], v[0] = t1 + t2;
    }
    for (i = 0; i < 8; i++)
        hash->state[i] += v[i];
}

static void sha256_add(struct sha256 *hash, const uint8_t *data, size_t size)
{
    while (size--) {
        hash->block[hash->length++ % 64] = *data++;
        if (hash->length % 64 == 0)
            sha256_block(hash);
    }
}

static void sha256_end(struct sha256 *hash, uint8_t digest[32])
{
    uint64_t bits = hash->length * 8;
    uint8_t octet = 0x80;
    unsigned i;

    for (; octet || hash->length % 64 != 56; octet = 0)
        sha256_add(hash, &octet, 1);
    for (i = 0; i < 8; i++) {
        octet = bits >> (56 - 8 * i);
        sha256_add(hash, &octet, 1);
    }
    for (i = 0; i < 32; i++)
        digest[i] = hash->state[i / 4] >> (24 - 8 * (i % 4));
}

/* The last node of a path if it is a partition's, and how long the path is up to it; else null. */
static const struct path_node *partition_node(const uint8_t *path, size_t *prefix)
{
    const struct path_node *node = (const void *)path, *last = NULL;

    for (; node->type != 0x7f; node = (const void *)((const uint8_t *)node + (node->length[0] | node->length[1] << 8))) {
        last = node;
        *prefix = (const uint8_t *)node - path;
    }
    return last && (last->type | last->subtype << 8) == NODE_PARTITION ? last : NULL;
}

/* The partition `number` of the drive that `own`, a partition of it, is on; null when there is none. */
static struct block_io *find_partition(struct system_table *system, void *own, unsigned number)
{
    void *handles[256];
    const uint8_t *own_path, *path;
    size_t own_prefix, prefix, size = sizeof(handles), i, k;
    const struct path_node *node;
    struct block_io *io;

    if (system->boot->handle_protocol(own, &device_path_protocol, (void **)&own_path) != EFI_SUCCESS ||
        !partition_node(own_path, &own_prefix) ||
        system->boot->locate_handle(2, &block_io_protocol, NULL, &size, handles) != EFI_SUCCESS)
        return NULL;
    for (i = 0; i < size / sizeof(handles[0]); i++) {
        if (system->boot->handle_protocol(handles[i], &device_path_protocol, (void **)&path) != EFI_SUCCESS ||
            !(node = partition_node(path, &prefix)) || prefix != own_prefix || node->partition != number)
            continue;
        for (k = 0; k < prefix && path[k] == own_path[k]; k++)
            ;
        if (k == prefix && system->boot->handle_protocol(handles[i], &block_io_protocol, (void **)&io) == EFI_SUCCESS)
            return io;
    }
    return NULL;
}

/* A bank of the drive, read into memory as far as its header says; null when that does not work. */
static const struct bank *read_bank(struct system_table *system, void *own, unsigned number)
{
    struct block_io *io = find_partition(system, own, 2 + number);
    uint64_t address;
    struct bank *bank;
    size_t size;

    if (!io || io->media->block_size == 0 || io->media->block_size > IMAGE_OFFSET ||
        (io->media->last_block + 1) * io->media->block_size < IMAGE_OFFSET ||
        system->boot->allocate_pages(0, 2, BANK_SIZE / 4096, &address) != EFI_SUCCESS)
        return NULL;
    bank = (struct bank *)(uintptr_t)address;
    if (io->read_blocks(io, io->media->id, 0, IMAGE_OFFSET, bank) != EFI_SUCCESS)
        return NULL;
    size = bank->image_size;
    if (size > BANK_SIZE - IMAGE_OFFSET || size > io->media->last_block * io->media->block_size - IMAGE_OFFSET)
        return bank; /* the header will be found wrong */
    size += io->media->block_size - 1;
    size -= size % io->media->block_size;
    if (io->read_blocks(io, io->media->id, IMAGE_OFFSET / io->media->block_size, size, (uint8_t *)bank + IMAGE_OFFSET) !=
        EFI_SUCCESS)
        return NULL;
    return bank;
}

/* Where a bank is: in the flash, or read from the drive that the selector was started from. */
static const struct bank *bank_at(struct system_table *system, void *self, unsigned number)
{
    struct loaded_image *own;
    void *path;

    if (system->boot->handle_protocol(self, &loaded_image_protocol, (void **)&own) == EFI_SUCCESS &&
        system->boot->handle_protocol(own->device, &block_io_protocol, &path) == EFI_SUCCESS)
        return read_bank(system, own->device, number);
    return (const struct bank *)(uintptr_t)(FIRST_BANK + number * BANK_SIZE);
}

/* Null when the bank's content is whole, or what is wrong with it. */
static const uint16_t *bank_problem(const struct bank *bank)
{
    struct sha256 hash = { { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 },
                           0, { 0 } };
    uint8_t digest[32];
    unsigned i, differences = 0;

    if (!bank)
        return u" cannot be read";
    if (bank->magic != MAGIC)
        return u" is empty";
    if (bank->header_version != HEADER_VERSION)
        return u" is of a version that this selector does not know";
    if (bank->image_size == 0 || bank->image_size > BANK_SIZE - IMAGE_OFFSET)
        return u" is damaged: its image does not fit it";
    sha256_add(&hash, (const uint8_t *)bank, offsetof(struct bank, digest));
    sha256_add(&hash, (const uint8_t *)bank + IMAGE_OFFSET, bank->image_size);
    sha256_end(&hash, digest);
    for (i = 0; i < sizeof(digest); i++)
        differences |= digest[i] ^ bank->digest[i];
    return differences ? u" is damaged: its check sum is another" : NULL;
}

/* Starts a bank's image. Returns only when that did not work, or when the image has ended. */
static status_t start_bank(struct system_table *system, void *self, unsigned number)
{
    const struct bank *bank = bank_at(system, self, number);
    const uint8_t *image = (const uint8_t *)bank + IMAGE_OFFSET;
    const uint16_t *problem = bank_problem(bank);
    struct memory_path path = { 1, 3, 24, MEMORY_MAPPED_IO, (uintptr_t)image, 0, 0x7f, 0xff, 4 };
    uint8_t running = number;
    void *loaded = NULL;
    status_t status;

    if (problem) {
        say_bank(system, number, problem);
        say(system, u"\r\n");
        return EFI_LOAD_ERROR;
    }
    path.end = path.start + bank->image_size - 1;
    status = system->boot->load_image(0, self, &path, image, bank->image_size, &loaded);
    if (status != EFI_SUCCESS) {
        say_bank(system, number, u" is not started: the firmware refuses its image\r\n");
        if (loaded) /* refused by policy, but loaded */
            system->boot->unload_image(loaded);
        return status;
    }
    say_bank(system, number, u" starts, version ");
    say_version(system, bank);
    /* Which bank runs is for the host to know; it cannot be told apart by the variable above. */
    system->runtime->set_variable(running_name, &vendor, RUNNING_ATTRIBUTES, sizeof(running), &running);
    return system->boot->start_image(loaded, NULL, NULL);
}

/* Which bank comes first. A bank that is not confirmed loses a try for it, which is stored before it may start. */
static unsigned choose(struct system_table *system)
{
    struct choice choice;
    uint32_t attributes;
    size_t size = sizeof(choice);
    status_t status = system->runtime->get_variable(choice_name, &vendor, &attributes, &size, &choice);

    if (status != EFI_SUCCESS || size != sizeof(choice) || choice.version != CHOICE_VERSION || choice.bank >= BANKS)
        return 0; /* as it comes from the factory */
    if (choice.tries == CONFIRMED)
        return choice.bank;
    if (choice.tries == 0) {
        say_bank(system, choice.bank, u" was tried often enough without success\r\n");
        return !choice.bank;
    }
    choice.tries--;
    status = system->runtime->set_variable(choice_name, &vendor, ATTRIBUTES, sizeof(choice), &choice);
    if (status != EFI_SUCCESS) {
        say_bank(system, choice.bank, u" is not tried: the firmware does not store that it was\r\n");
        return !choice.bank;
    }
    return choice.bank;
}

__attribute__((section(".text.entry"))) EFIAPI status_t efi_main(void *self, struct system_table *system)
{
    unsigned first = choose(system);
    status_t status = start_bank(system, self, first);

    if (status != EFI_SUCCESS)
        status = start_bank(system, self, !first);
    if (status != EFI_SUCCESS)
        say(system, u"Thimble: no bank could be started; the firmware goes on\r\n");
    return status;
}
