/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt pack: makes the file that a hypervisor boots: the back-end's VMM with the guest's ELF
 * file, bit for bit, as its last segment (backends/xen/ld.lds).
 */
#include <argp.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/annotate.h>
#include <previrt/audit.h>

#include "../backends/xen/emulates.h"
#include "cli.h"

#define VMM_XEN      "previrt-xen"
#define GUEST_MAGIC  "PVGUEST1"
#define GUEST_HEADER 4096u

struct pack_options {
    const char *kernel, *output, *vmm, *backend;
};

enum { KEY_BACKEND = 256, KEY_VMM };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct pack_options *options = state->input;

    switch (key) {
    case KEY_BACKEND:
        if (strcmp(argument, "xen") != 0 && strcmp(argument, "ia64") != 0)
            argp_error(state, "--backend=%s: the back-ends that need packing are xen and ia64",
                       argument);
        options->backend = argument;
        return 0;
    case KEY_VMM:
        options->vmm = argument;
        return 0;
    case 'o':
        options->output = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->kernel)
            argp_error(state, "unexpected argument \"%s\"", argument);
        options->kernel = argument;
        return 0;
    case ARGP_KEY_END:
        if (!options->kernel)
            argp_error(state, "which kernel?");
        if (!options->output)
            argp_error(state, "-o says where to");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The guest must be what the VMM can start, so that it is refused here and not at boot. */
static int check_guest(const char *path, const uint8_t *data, size_t size)
{
    const Elf32_Ehdr *eh = (const void *)data;
    Elf32_Phdr ph;
    unsigned segments = 0;

    if (size < sizeof(*eh) || memcmp(data, ELFMAG, SELFMAG) != 0) {
        cli_error("%s: not an ELF file", path);
        return CLI_MALFORMED;
    }
    if (eh->e_ident[EI_CLASS] != ELFCLASS32 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
        eh->e_machine != EM_386 || eh->e_type != ET_EXEC) {
        cli_error("%s: not an IA32 executable (class %u, machine %u, type %u)", path,
                  eh->e_ident[EI_CLASS], eh->e_machine, eh->e_type);
        return CLI_MALFORMED;
    }
    if (eh->e_phentsize != sizeof(ph) || eh->e_phoff > size ||
        eh->e_phnum > (size - eh->e_phoff) / sizeof(ph)) {
        cli_error("%s: %u program headers of %u bytes at 0x%x do not fit the file of %zu bytes",
                  path, eh->e_phnum, eh->e_phentsize, eh->e_phoff, size);
        return CLI_MALFORMED;
    }
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        memcpy(&ph, data + eh->e_phoff + i * sizeof(ph), sizeof(ph)); /* it need not be aligned */
        if (ph.p_type != PT_LOAD)
            continue;
        if (ph.p_offset > size || ph.p_filesz > size - ph.p_offset || ph.p_filesz > ph.p_memsz) {
            cli_error("%s: segment %u (0x%x bytes at 0x%x, for 0x%x of memory) does not fit the "
                      "file of %zu bytes",
                      path, i, ph.p_filesz, ph.p_offset, ph.p_memsz, size);
            return CLI_MALFORMED;
        }
        segments++;
    }
    if (!segments) {
        cli_error("%s: it has no segment to load", path);
        return CLI_MALFORMED;
    }
    return CLI_OK;
}

/* The segment of (vmm) that is the guest's, NULL if this is not one of our images. */
static Elf64_Phdr *guest_segment(uint8_t *vmm, size_t size)
{
    Elf64_Ehdr *eh = (void *)vmm;

    if (size < sizeof(*eh) || memcmp(vmm, ELFMAG, SELFMAG) != 0 ||
        eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_phentsize != sizeof(Elf64_Phdr) ||
        eh->e_phoff > size || eh->e_phnum > (size - eh->e_phoff) / sizeof(Elf64_Phdr))
        return NULL;
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr *ph = (Elf64_Phdr *)(vmm + eh->e_phoff) + i;

        if (ph->p_type == PT_LOAD && ph->p_filesz == GUEST_HEADER && ph->p_offset <= size &&
            size - ph->p_offset >= GUEST_HEADER &&
            memcmp(vmm + ph->p_offset, GUEST_MAGIC, strlen(GUEST_MAGIC)) == 0)
            return ph;
    }
    return NULL;
}

static int write_image(const struct pack_options *options, uint8_t *vmm, size_t vmm_size,
                       const uint8_t *guest, size_t guest_size)
{
    static const uint8_t zero[GUEST_HEADER];
    uint8_t header[GUEST_HEADER] = GUEST_MAGIC;
    Elf64_Ehdr *eh = (void *)vmm;
    Elf64_Phdr *ph = guest_segment(vmm, vmm_size);
    uint64_t size = guest_size, at = (vmm_size + GUEST_HEADER - 1) & ~(uint64_t)(GUEST_HEADER - 1);
    struct cli_output out;
    int status;

    if (!ph) {
        cli_error("%s: not a VMM image of this program", options->vmm);
        return CLI_MALFORMED;
    }
    memcpy(header + strlen(GUEST_MAGIC), &size, sizeof(size));
    ph->p_offset = at;
    ph->p_filesz = ph->p_memsz = GUEST_HEADER + guest_size;
    /* sections describe the file before it grew */
    eh->e_shoff = 0;
    eh->e_shnum = eh->e_shstrndx = 0;
    status = cli_output_open(&out, options->output);
    if (status)
        return status;
    fwrite(vmm, 1, vmm_size, out.file);
    fwrite(zero, 1, at - vmm_size, out.file);
    fwrite(header, 1, sizeof(header), out.file);
    fwrite(guest, 1, guest_size, out.file);
    return cli_output_commit(&out);
}

/*
 * What the table misses the VMM sees only if it traps, and if the hypervisor then asks. The kernel
 * is packed all the same: its own audit is where this is a failure.
 */
static void warn_of_missed(const char *path, const uint8_t *data, size_t size)
{
    static const uint8_t emulates[] = {PV_XEN_EMULATES};
    struct previrt_audit_options options = {.size = sizeof(options), .path = path};
    const struct previrt_audit *audit = NULL;
    struct previrt_rules *rules = NULL;
    unsigned traps = 0, silent = 0, taken = 0;

    if (previrt_rules_default_for(PREVIRT_ARCH_IA32, &rules))
        return;
    options.rules = rules;
    if (previrt_audit_mem(data, size, &options, &audit)) {
        previrt_rules_free(rules);
        return; /* the VMM says at boot what is wrong with the table */
    }
    for (size_t i = 0; i < audit->site_count; i++) {
        const struct previrt_audit_site *site = &audit->sites[i];
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(site->op);

        if (site->verdict != PREVIRT_MISSED || !info || info->policy != PREVIRT_POLICY_REWRITE)
            continue;
        if (memchr(emulates, site->op, sizeof(emulates)))
            taken++;
        else if (info->trap == PREVIRT_TRAP_PRIVILEGED || info->trap == PREVIRT_TRAP_IOPL)
            traps++;
        else
            silent++;
    }
    if (traps + silent + taken)
        cli_error("warning: %s: %u sensitive operations have no record (previrt audit lists them): "
                  "%u will be emulated when they trap, %u do not trap, %u Xen does in its own way",
                  path, traps + silent + taken, traps, silent, taken);
    previrt_audit_free(audit);
    previrt_rules_free(rules);
}

static int pack(const struct pack_options *options)
{
    uint8_t *vmm = NULL, *guest = NULL;
    size_t vmm_size, guest_size;
    int status = cli_read_file(options->kernel, &guest, &guest_size);

    if (!status)
        status = check_guest(options->kernel, guest, guest_size);
    if (!status)
        warn_of_missed(options->kernel, guest, guest_size);
    if (!status)
        status = cli_read_file(options->vmm, &vmm, &vmm_size);
    if (!status)
        status = write_image(options, vmm, vmm_size, guest, guest_size);
    free(vmm);
    free(guest);
    return status;
}

int cli_pack_xen(const char *kernel, const char *output)
{
    char path[CLI_LOADER_MAX];
    struct pack_options options = {.kernel = kernel, .output = output, .vmm = path};
    int status = cli_find_loader("xen", VMM_XEN, path, sizeof(path));

    return status ? status : pack(&options);
}

int cmd_pack(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"backend", KEY_BACKEND, "NAME", 0,
         "xen, or ia64: a monitor for the bare machine (by default what the file is for)", 0},
        {"output", 'o', "FILE", 0, "The kernel that the hypervisor or the machine boots", 0},
        {"vmm", KEY_VMM, "FILE", 0, "The back-end's image, if it is not beside this command", 0},
        {0},
    };
    static const struct argp argp = {
        argp_options,
        parse,
        "KERNEL",
        "Packs KERNEL, an afterburnt IA32 ELF executable, with a back-end's VMM into the file that "
        "the hypervisor boots; the kernel inside is the input, bit for bit. An IA-64 executable is "
        "rewritten, and packed with the monitor that runs it at privilege level 3.\v"
        "Exit status: 0; 2 usage; 3 not such a kernel; 4 files or environment.",
        NULL,
        NULL,
        NULL};
    struct pack_options options = {0};
    char path[CLI_LOADER_MAX];
    int status = CLI_OK;

    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.backend ? strcmp(options.backend, "ia64") == 0 : cli_is_ia64(options.kernel))
        return cli_pack_ia64(options.kernel, options.output, options.vmm);
    if (!options.vmm) {
        status = cli_find_loader("xen", VMM_XEN, path, sizeof(path));
        options.vmm = path;
    }
    return status ? status : pack(&options);
}
