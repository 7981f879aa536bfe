/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt run: boots a guest kernel on a back-end, with its console on this terminal. `raw`: QEMU
 * starts the raw loader (backends/raw), which starts the guest, rewritten or not. `xen`: QEMU
 * starts the Xen hypervisor, with the guest and its VMM (backends/xen) as domain 0.
 */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <previrt/raw.h>

#include "cli.h"

#define RUN_ENDED      5   /* the guest could not go on */
#define RUN_TIMED_OUT  124 /* as timeout(1) */
#define SPAWN_FAILED   127 /* posix_spawnp(): the child could not run the program */
#define MEMORY_DEFAULT "256"
#define QEMU           "qemu-system-i386"
#define QEMU_X86_64    "qemu-system-x86_64"
#define QEMU_PACKAGE   "qemu-system-x86"
#define XEN_PACKAGE    "xen-hypervisor-4.17-amd64"
#define XEN_INSTALLED  "/boot/xen-4.17-amd64.gz"
#define XEN_VARIABLE   "PREVIRT_XEN"
#define XEN_MEMORY     384 /* MB that the hypervisor and the VMM have beside the guest's */
#define LOADER         "previrt-raw"
#define ARGUMENTS_MAX  64

struct run_options {
    const char *kernel, *initrd, *append, *memory, *rewrite, *cpu, *loader, *hypervisor;
    bool xen;
    unsigned long timeout; /* seconds, 0: none */
    bool verify, revert;
    char **qemu_arguments; /* behind "--" */
};

enum {
    KEY_APPEND = 256,
    KEY_BACKEND,
    KEY_CPU,
    KEY_HYPERVISOR,
    KEY_INITRD,
    KEY_LOADER,
    KEY_MEM,
    KEY_REVERT,
    KEY_REWRITE,
    KEY_TIMEOUT,
    KEY_VERIFY
};

static unsigned long parse_number(const char *text, struct argp_state *state, const char *option,
                                  unsigned long largest)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < 1 || value > largest)
        argp_error(state, "%s=%s: not a number from 1 to %lu", option, text, largest);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct run_options *options = state->input;

    switch (key) {
    case KEY_APPEND:
        options->append = argument;
        return 0;
    case KEY_BACKEND:
        if (strcmp(argument, "raw") != 0 && strcmp(argument, "xen") != 0)
            argp_error(state, "--backend=%s: not raw or xen", argument);
        options->xen = strcmp(argument, "xen") == 0;
        return 0;
    case KEY_HYPERVISOR:
        options->hypervisor = argument;
        return 0;
    case KEY_CPU:
        options->cpu = argument;
        return 0;
    case KEY_INITRD:
        options->initrd = argument;
        return 0;
    case KEY_LOADER:
        options->loader = argument;
        return 0;
    case KEY_MEM:
        parse_number(argument, state, "--mem", 3072);
        options->memory = argument;
        return 0;
    case KEY_REWRITE:
        if (strcmp(argument, "native") != 0 && strcmp(argument, "none") != 0)
            argp_error(state, "--rewrite=%s: not native or none", argument);
        options->rewrite = argument;
        return 0;
    case KEY_TIMEOUT:
        options->timeout = parse_number(argument, state, "--timeout", 86400);
        return 0;
    case KEY_REVERT:
        options->revert = true;
        return 0;
    case KEY_VERIFY:
        options->verify = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->kernel)
            return ARGP_ERR_UNKNOWN; /* then it comes again with all that follow: ARGP_KEY_ARGS */
        options->kernel = argument;
        return 0;
    case ARGP_KEY_ARGS:
        options->qemu_arguments = state->argv + state->next;
        if (!state->quoted)
            argp_error(state, "unexpected argument \"%s\" (arguments for QEMU follow \"--\")",
                       state->argv[state->next]);
        return 0;
    case ARGP_KEY_END:
        if (!options->kernel)
            argp_error(state, "which kernel?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* QEMU splits -initrd at commas, a doubled one stands for itself; (to) has room. */
static char *copy_module_text(char *to, const char *from)
{
    for (; *from; from++) {
        if (*from == ',')
            *to++ = ',';
        *to++ = *from;
    }
    *to = 0;
    return to;
}

/* "KERNEL ARGUMENTS,INITRD"; NULL: out of memory. */
static char *module_list(const struct run_options *options)
{
    size_t size = 2 * (strlen(options->kernel) + strlen(options->append) +
                       (options->initrd ? strlen(options->initrd) : 0)) +
                  sizeof(" ,");
    char *list = malloc(size), *at = list;

    if (!list)
        return NULL;
    at = copy_module_text(at, options->kernel);
    *at++ = ' ';
    at = copy_module_text(at, options->append);
    if (options->initrd) {
        *at++ = ',';
        at = copy_module_text(at, options->initrd);
    }
    return list;
}

static int check_file(const char *path, bool module)
{
    if (access(path, R_OK) < 0) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_IO;
    }
    if (module && strchr(path, ' ')) {
        cli_error("%s: QEMU cannot pass a file with a space in its name as a module", path);
        return CLI_USAGE;
    }
    return CLI_OK;
}

/* What QEMU's status says about the guest. */
static int guest_status(int status)
{
    int number = (status - 1) / 2;

    if (status == 0)
        return CLI_OK; /* with -no-reboot a reset ends QEMU */
    if (status % 2 == 0 || status == 1) {
        cli_error("%s failed with status %d", QEMU, status);
        return CLI_IO;
    }
    switch (number) {
    case PREVIRT_RAW_EXIT_USAGE:
        return CLI_USAGE;
    case PREVIRT_RAW_EXIT_BOOT:
    case PREVIRT_RAW_EXIT_MEMORY:
        cli_error("the loader did not start the guest (reason %#x, on the console)", number);
        return CLI_IO;
    case PREVIRT_RAW_EXIT_GUEST:
    case PREVIRT_RAW_EXIT_TABLE:
        cli_error("the loader refused the guest (reason %#x, on the console)", number);
        return CLI_MALFORMED;
    case PREVIRT_RAW_EXIT_REWRITE:
        cli_error("the loader did not rewrite the guest (reason on the console)");
        return CLI_FINDINGS;
    case PREVIRT_RAW_EXIT_MONITOR:
        cli_error("the monitor stopped the guest (reason on the console)");
        return CLI_FINDINGS;
    default:
        cli_error("the guest ended with %d", number);
        return CLI_FINDINGS;
    }
}

/* What QEMU's status says when the guest ran on Xen: the VMM writes its reason to the debug-exit
 * port. */
static int xen_status(int status)
{
    enum {
        REASON_ENDED = 1,    /* src/vmm: PV_POWER_ENDED */
        REASON_REFUSED = 3,  /* src/vmm: PV_POWER_REFUSED */
        REASON_SITES = 4,    /* src/vmm: PV_POWER_SITES */
        REASON_RESET = 0x20, /* backends/xen */
        REASON_GUEST = 0x40, /* src/vmm: PV_STATUS_GUEST */
    };
    int number = (status - 1) / 2;

    if (status == 0) { /* a reset that is not the guest's, or Control-A X */
        cli_error("the machine was ended, not by the guest (reason on the console)");
        return RUN_ENDED;
    }
    if (status % 2 == 0 || status == 1) {
        cli_error("%s failed with status %d", QEMU_X86_64, status);
        return CLI_IO;
    }
    if (number == REASON_RESET)
        return CLI_OK;
    if (number == REASON_ENDED) {
        cli_error("the VMM ended the guest (reason and registers on the console)");
        return RUN_ENDED;
    }
    if (number == REASON_REFUSED || number == REASON_SITES) {
        cli_error("the VMM did not start the guest (reason on the console)");
        return number == REASON_SITES ? CLI_FINDINGS : CLI_MALFORMED;
    }
    if (number >= REASON_GUEST) {
        cli_error("the guest ended with %d", number - REASON_GUEST);
        return CLI_FINDINGS;
    }
    cli_error("the guest was ended (reason %d, on the console)", number);
    return CLI_FINDINGS;
}

/* Waits for (child), at most options->timeout seconds if that is not 0; kills it then. */
static int wait_for(pid_t child, const struct run_options *options, const sigset_t *signals)
{
    const unsigned long timeout = options->timeout;
    const char *qemu = options->xen ? QEMU_X86_64 : QEMU;
    struct timespec now, end;
    int status;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)timeout;
    while (waitpid(child, &status, WNOHANG) == 0) {
        struct timespec left;

        if (!timeout) {
            sigwaitinfo(signals, NULL);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        left.tv_sec = end.tv_sec - now.tv_sec;
        left.tv_nsec = end.tv_nsec - now.tv_nsec;
        if (left.tv_nsec < 0) {
            left.tv_nsec += 1000000000;
            left.tv_sec--;
        }
        if (left.tv_sec < 0) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            cli_error("stopped after %lu seconds", timeout);
            return RUN_TIMED_OUT;
        }
        sigtimedwait(signals, NULL, &left);
    }
    if (WIFSIGNALED(status)) {
        cli_error("%s was ended by signal %d (%s)", qemu, WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
        return CLI_IO;
    }
    if (WEXITSTATUS(status) == SPAWN_FAILED) {
        cli_error("%s cannot be run: install %s", qemu, QEMU_PACKAGE);
        return CLI_IO;
    }
    return options->xen ? xen_status(WEXITSTATUS(status)) : guest_status(WEXITSTATUS(status));
}

static int run(const struct run_options *options, const char *loader, char *modules, char *append)
{
    /* On a terminal Control-C and the like are for the guest; the multiplexer has a way out. */
    const int terminal = isatty(STDIN_FILENO);
    char *arguments[ARGUMENTS_MAX] = {(char *)(options->xen ? QEMU_X86_64 : QEMU),
                                      "-accel",
                                      "tcg",
                                      "-m",
                                      (char *)options->memory,
                                      "-display",
                                      "none",
                                      "-serial",
                                      terminal ? "mon:stdio" : "stdio",
                                      "-monitor",
                                      "none",
                                      "-no-reboot",
                                      "-nodefaults",
                                      "-device",
                                      "isa-debug-exit,iobase=0xf4,iosize=4",
                                      "-kernel",
                                      (char *)loader,
                                      "-initrd",
                                      modules,
                                      "-append",
                                      append};
    posix_spawnattr_t attributes;
    sigset_t signals, old;
    size_t count = 0;
    pid_t child;
    int status;

    while (arguments[count])
        count++;
    if (options->cpu) {
        arguments[count++] = "-cpu";
        arguments[count++] = (char *)options->cpu;
    }
    for (char **more = options->qemu_arguments; more && *more; more++) {
        if (count == ARGUMENTS_MAX - 1) {
            cli_error("too many arguments for QEMU");
            return CLI_USAGE;
        }
        arguments[count++] = *more;
    }
    if (terminal)
        fprintf(stderr, "previrt run: Control-A X ends the machine\n");
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &old);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &old);
    fflush(stdout);
    status = posix_spawnp(&child, arguments[0], NULL, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    if (status == ENOENT) {
        cli_error("there is no %s: install %s", arguments[0], QEMU_PACKAGE);
        status = CLI_IO;
    } else if (status) {
        cli_error("%s: %s", QEMU, strerror(status));
        status = CLI_IO;
    } else {
        status = wait_for(child, options, &signals);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return status;
}

/* The hypervisor as an ELF file: (options)'s, or Debian's, which is compressed. */
static int prepare_hypervisor(const struct run_options *options, const char *folder, char *path,
                              size_t size)
{
    static const char command[] = "exec gzip -dc \"$0\" >\"$1\"";
    const char *from = options->hypervisor ? options->hypervisor : getenv(XEN_VARIABLE);
    char *arguments[] = {"sh", "-c", (char *)command, NULL, path, NULL};
    size_t length;
    pid_t child;
    int status;

    if (!from)
        from = XEN_INSTALLED;
    if (access(from, R_OK) < 0) {
        cli_error("%s: %s; --hypervisor or " XEN_VARIABLE " names one (Debian: " XEN_PACKAGE ")",
                  from, strerror(errno));
        return CLI_IO;
    }
    length = strlen(from);
    if (length < 3 || strcmp(from + length - 3, ".gz") != 0) {
        if ((size_t)snprintf(path, size, "%s", from) >= size) {
            cli_error("%s: the name is too long", from);
            return CLI_USAGE;
        }
        return CLI_OK;
    }
    snprintf(path, size, "%s/xen", folder);
    arguments[3] = (char *)from;
    if (posix_spawnp(&child, "sh", NULL, NULL, arguments, environ) ||
        waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
        cli_error("%s: gzip could not unpack it", from);
        return CLI_IO;
    }
    return CLI_OK;
}

/* Everything that the run needs is in a folder that is removed afterwards. */
static int run_on_xen(struct run_options *options)
{
    char folder[] = "/tmp/previrt-run.XXXXXX", xen[PATH_MAX], kernel[sizeof(folder) + 8],
         memory[16];
    char append[] = "com1=115200 console=com1";
    char *modules;
    int status;

    signal(SIGINT, SIG_IGN); /* QEMU's to handle; what is in the folder is removed afterwards */
    if (!mkdtemp(folder)) {
        cli_error("%s: %s", folder, strerror(errno));
        return CLI_IO;
    }
    snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
    status = prepare_hypervisor(options, folder, xen, sizeof(xen));
    if (!status)
        status = cli_pack_xen(options->kernel, kernel);
    if (!status) {
        snprintf(memory, sizeof(memory), "%lu", strtoul(options->memory, NULL, 10) + XEN_MEMORY);
        options->memory = memory;
        options->kernel = kernel;
        modules = module_list(options);
        status = modules ? run(options, xen, modules, append) : cli_fail(PREVIRT_E_MEMORY, kernel);
        free(modules);
    }
    unlink(kernel);
    if (strncmp(xen, folder, sizeof(folder) - 1) == 0)
        unlink(xen);
    rmdir(folder);
    return status;
}

int cmd_run(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"backend", KEY_BACKEND, "NAME", 0,
         "raw (the default): a PC that QEMU emulates; xen: domain 0 of the Xen hypervisor on one",
         0},
        {"hypervisor", KEY_HYPERVISOR, "FILE", 0,
         "The hypervisor, ELF or .gz (" XEN_VARIABLE ", else " XEN_INSTALLED ")", 0},
        {"initrd", KEY_INITRD, "FILE", 0, "Its initial RAM disk", 0},
        {"append", KEY_APPEND, "TEXT", 0, "Its command line", 0},
        {"mem", KEY_MEM, "MB", 0, "Memory of the machine (" MEMORY_DEFAULT ")", 0},
        {"cpu", KEY_CPU, "MODEL", 0, "QEMU's CPU model", 0},
        {"timeout", KEY_TIMEOUT, "SECONDS", 0, "Stop the machine after so long, status 124", 0},
        {"rewrite", KEY_REWRITE, "TARGET", 0,
         "native (the default): every sensitive operation becomes a stub's; none: as built", 0},
        {"verify", KEY_VERIFY, 0, 0, "Compare the rewritten text with the file and the plan", 0},
        {"revert", KEY_REVERT, 0, 0, "Rewrite, revert and compare first", 0},
        {"loader", KEY_LOADER, "FILE", 0, "The raw loader, if it is not beside this command", 0},
        {0},
    };
    static const struct argp argp = {
        argp_options,
        parse,
        "KERNEL [-- QEMU-ARGUMENT...]",
        "Boots KERNEL, an IA32 ELF file (a Linux vmlinux or a Multiboot kernel), with its console "
        "on this terminal.\v"
        "Exit status: 0 the guest reset the machine (reboot); 1 it ended otherwise, or was not "
        "rewritten because sites were refused; 2 usage; 3 no or bad patch-up table, or not a "
        "kernel; 4 files or environment; 5 the guest could not go on, and its VMM or the "
        "hypervisor "
        "ended it; 124 stopped after the timeout.",
        NULL,
        NULL,
        NULL};
    struct run_options options = {.append = "", .memory = MEMORY_DEFAULT, .rewrite = "native"};
    char loader[CLI_LOADER_MAX], append[64];
    char *modules;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &options);
    status = check_file(options.kernel, true);
    if (!status && cli_is_ia64(options.kernel)) {
        cli_error("%s: an IA-64 guest, which QEMU has no machine for: `previrt pack' makes of it a "
                  "program for one, or for a simulator",
                  options.kernel);
        return CLI_MALFORMED;
    }
    if (!status && options.initrd)
        status = check_file(options.initrd, true);
    if (options.xen)
        return status ? status : run_on_xen(&options);
    if (!status && options.loader)
        status = check_file(options.loader, false);
    if (!status && !options.loader) {
        status = cli_find_loader("raw", LOADER, loader, sizeof(loader));
        options.loader = loader;
    }
    if (status)
        return status;
    modules = module_list(&options);
    if (!modules)
        return cli_fail(PREVIRT_E_MEMORY, options.kernel);
    snprintf(append, sizeof(append), "rewrite=%s%s%s", options.rewrite,
             options.verify ? " verify" : "", options.revert ? " revert" : "");
    status = run(&options, options.loader, modules, append);
    free(modules);
    return status;
}
