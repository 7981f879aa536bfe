/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages of the VMM, on the back-end's console, and the end of a guest. */
#include <stdarg.h>
#include "vmm.h"

struct line {
    char text[512];
    size_t length;
};

static void put(struct line *line, char c)
{
    if (line->length < sizeof line->text)
        line->text[line->length++] = c;
}

static void number(struct line *line, unsigned long long value, unsigned base, int width, char pad)
{
    char digits[24];
    int n = 0;

    do
        digits[n++] = "0123456789abcdef"[value % base];
    while ((value /= base));
    while (width-- > n)
        put(line, pad);
    while (n)
        put(line, digits[--n]);
}

/* %s %c %d %u %x %#x with l and ll, width and zero padding: what this file's callers need. */
static void format_line(struct line *line, const char *f, va_list ap)
{
    for (; *f; f++) {
        int width = 0, longs = 0, alternate = 0;
        char pad = ' ';

        if (*f != '%') {
            put(line, *f);
            continue;
        }
        f++;
        if (*f == '#')
            alternate = 1, f++;
        if (*f == '0')
            pad = '0', f++;
        while (*f >= '0' && *f <= '9')
            width = width * 10 + *f++ - '0';
        while (*f == 'l')
            longs++, f++;
        switch (*f) {
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++, width--)
                put(line, *s);
            while (width-- > 0)
                put(line, ' ');
            break;
        case 'c':
            put(line, va_arg(ap, int));
            break;
        case 'd': {
            long long v = longs == 2 ? va_arg(ap, long long)
                          : longs    ? va_arg(ap, long)
                                     : va_arg(ap, int);

            if (v < 0)
                put(line, '-'), v = -v;
            number(line, v, 10, width, pad);
            break;
        }
        case 'u':
        case 'x': {
            unsigned long long v = longs == 2 ? va_arg(ap, unsigned long long)
                                   : longs    ? va_arg(ap, unsigned long)
                                              : va_arg(ap, unsigned);

            if (alternate)
                put(line, '0'), put(line, 'x');
            number(line, v, *f == 'x' ? 16 : 10, width, pad);
            break;
        }
        default:
            put(line, *f);
        }
    }
}

void pv_printf(struct pv_vmm *vmm, const char *format, ...)
{
    struct line line = {.length = 0};
    va_list ap;

    va_start(ap, format);
    format_line(&line, format, ap);
    va_end(ap);
    vmm->backend.console(vmm->backend.context, line.text, line.length);
}

/* How a guest is ended: says (what), the reason, and is dead. 0: it was already. */
static int last_words(struct pv_vmm *vmm, const char *what, const char *format, va_list ap)
{
    struct line line = {.length = 0};

    if (vmm->dead)
        return 0;
    vmm->dead = 1;
    previrt_bus_flush(&vmm->pc.bus);
    format_line(&line, format, ap);
    pv_printf(vmm, "\nprevirt: %s: ", what);
    vmm->backend.console(vmm->backend.context, line.text, line.length);
    pv_printf(vmm, "\n");
    return 1;
}

void pv_refuse(struct pv_vmm *vmm, int status, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (last_words(vmm, "the guest is not started", format, ap))
        vmm->backend.power(vmm->backend.context, status);
    va_end(ap);
}

void pv_die(struct pv_vmm *vmm, const char *format, ...)
{
    struct pv_cpu *cpu = &vmm->cpu;
    va_list ap;
    int first;

    va_start(ap, format);
    first = last_words(vmm, "the guest is ended", format, ap);
    va_end(ap);
    if (!first)
        return;
    pv_printf(vmm,
              "previrt: eip %08x eflags %08x if %u %s mode cr0 %08x cr2 %08x cr3 %08x cr4 %08x\n",
              (uint32_t)cpu->eip, (uint32_t)cpu->eflags, pv_if(vmm->page),
              cpu->user ? "user" : "kernel", cpu->cr0, cpu->cr2, cpu->cr3, cpu->cr4);
    pv_printf(
        vmm, "previrt: eax %08x ecx %08x edx %08x ebx %08x esp %08x ebp %08x esi %08x edi %08x\n",
        (uint32_t)cpu->gpr[0], (uint32_t)cpu->gpr[1], (uint32_t)cpu->gpr[2], (uint32_t)cpu->gpr[3],
        (uint32_t)cpu->gpr[4], (uint32_t)cpu->gpr[5], (uint32_t)cpu->gpr[6], (uint32_t)cpu->gpr[7]);
    for (unsigned i = 0; i < 16; i++) {
        uint32_t word;

        if (pv_read(vmm, cpu->gpr[PV_ESP] + i * 4, &word, 4, NULL))
            break;
        pv_printf(vmm, "%s%08x%s", i % 8 ? " " : "previrt: stack ", word, i % 8 == 7 ? "\n" : "");
    }
    pv_dump_counters(vmm, 0);
    vmm->backend.power(vmm->backend.context, PV_POWER_ENDED);
}

static void print_count(struct pv_vmm *vmm, const char *kind, const char *name, uint64_t value)
{
    if (value)
        pv_printf(vmm, "previrt: count %s%s %llu\n", kind, name, (unsigned long long)value);
}

void pv_dump_counters(struct pv_vmm *vmm, int since_mark)
{
    static const struct previrt_counters zero;
    const struct previrt_counters c = vmm->count, *from = since_mark ? &vmm->mark : &zero;

    pv_printf(vmm, "previrt: counters: begin\n");
#define PRINT(name, text) print_count(vmm, "", #name, c.name - from->name);
    PREVIRT_COUNTERS(PRINT)
#undef PRINT
    for (unsigned v = 0; v < PREVIRT_COUNTERS_VECTORS; v++) {
        char name[3] = {v / 10 + '0', v % 10 + '0', 0};

        print_count(vmm, "vector:", name, c.vector[v] - from->vector[v]);
    }
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

        print_count(vmm, "op:", info ? info->name : "?", c.op[op] - from->op[op]);
    }
    pv_printf(vmm, "previrt: counters: end\n");
}

void pv_end(struct pv_vmm *vmm, int status)
{
    previrt_bus_flush(&vmm->pc.bus);
    if (vmm->counters_at_end)
        pv_dump_counters(vmm, 0);
    vmm->dead = 1;
    vmm->backend.power(vmm->backend.context, status);
}
