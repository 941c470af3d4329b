/* A QEMU plugin that counts guest instructions, each at its address, in a file shared with whoever
 * wants to look while the guest runs. Made and loaded by `bench -- instructions`.
 *
 * The file is a hash table of {address, count}. The count is raised inline, in the translated code.
 * Instructions for which there is no place are counted in entry 0, whose address is 0.
 *
 * QEMU exports these functions to plugins; Debian has no package with their header.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op,
                                                void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* As in src/guests/instructions/counter.rs. */
#define ENTRIES (1u << 20)
#define TRIES 64

struct entry {
    uint64_t address, count;
};

static struct entry *table;

static struct entry *place_of(uint64_t address)
{
    uint64_t hash = address * UINT64_C(0x9E3779B97F4A7C15) >> 44;

    for (unsigned try = 0; try < TRIES; try++) {
        struct entry *entry = &table[(hash + try) % ENTRIES];

        if (entry == table)
            continue;
        if (entry->address == 0)
            entry->address = address;
        if (entry->address == address)
            return entry;
    }
    return table;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t count = qemu_plugin_tb_n_insns(block);

    (void)id;
    for (size_t n = 0; n < count; n++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, n);
        struct entry *entry = place_of(qemu_plugin_insn_vaddr(insn));

        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &entry->count, 1);
    }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
    int file;

    (void)info;
    if (argc != 1 || strncmp(argv[0], "to=", 3) != 0) {
        fprintf(stderr, "count: which file? (to=FILE)\n");
        return 1;
    }
    file = open(argv[0] + 3, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, ENTRIES * sizeof *table) != 0) {
        perror(argv[0] + 3);
        return 1;
    }
    table = mmap(NULL, ENTRIES * sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (table == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
