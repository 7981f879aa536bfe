/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel code that comes after the image: code.c finds the patch-up tables of modules in guest
 * memory, rewrites before the first instruction, notices writes, survives tables that lie. The
 * guest is a few pages of code and its page tables; what a kernel's module loader would do is done
 * to its memory from outside, or by its own stores.
 */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE (8u << 20)

/* guest-physical */
#define ROOT        0x2000u
#define DIRECTORY   0x3000u /* of the kernel half, PAE */
#define IMAGE_TABLE 0x4000u
#define CODE_TABLE  0x5000u
#define FRAMES      0x100000u /* of the pages at MODULES, in order, unless a test changes it */

#define IMAGE      0xc0000000u
#define IMAGE_END  0xc0010000u
#define IMAGE_GPA  0x10000u
#define RETURN     (IMAGE + 0x100)
#define STORE      (IMAGE + 0x200) /* mov %al, (%ecx); ret */
#define STACK_TOP  (IMAGE + 0x9000)
#define MODULES    0xc8000000u
#define ROOM_CODE  (MODULES + 0x1000)
#define ROOM_TABLE (MODULES + 0x4000)
#define ROOM_INIT  (MODULES + 0x20000)
#define ROOM_LARGE 0xd0000000u /* the same RAM again, by large pages */

#define PRESENT 1u
#define WRITE   2u
#define BITS    0x60u /* accessed, dirty */
#define LARGE   0x80u
#define NX      (1ull << 63)

static struct vm *vm;
static bool pae;
static void *memory;
static const size_t memory_size = 2u << 20;
static unsigned failures, checks;

#define CHECK(condition) check(condition, #condition, __LINE__)

static void check(bool ok, const char *what, int line)
{
    checks++;
    if (ok)
        return;
    printf("  FAILED line %d (%s): %s\n", line, pae ? "PAE" : "two levels", what);
    failures++;
}

/* ---- the guest's tables ---- */

static void set_entry(gpa_t table, unsigned index, uint64_t entry)
{
    if (pae)
        vm_put64(vm, table + index * 8, entry);
    else
        vm_put32(vm, table + index * 4, (uint32_t)entry);
}

/* The page (va) of the modules' area; no execution only where there is such a bit. */
static void map_page(gva_t va, uint64_t entry)
{
    set_entry(CODE_TABLE, va / PV_PAGE_SIZE % (pae ? 512 : 1024), entry);
}

static gpa_t frame(gva_t va)
{
    return FRAMES + (va - MODULES);
}

static void start(void)
{
    static const uint8_t store[] = {0x88, 0x01, 0xc3};
    struct pv_vmm *vmm = vm->vmm;

    vm_reset(vm);
    if (pae) {
        vm_put64(vm, ROOT + 3 * 8, DIRECTORY | PRESENT);
        set_entry(DIRECTORY, 0, IMAGE_TABLE | PRESENT | WRITE | BITS);
        set_entry(DIRECTORY, (MODULES - IMAGE) >> 21, CODE_TABLE | PRESENT | WRITE | BITS);
        for (unsigned i = 0; i < RAM_SIZE >> 21; i++)
            set_entry(DIRECTORY, ((ROOM_LARGE - IMAGE) >> 21) + i,
                      (i << 21) | PRESENT | WRITE | BITS | LARGE);
    } else {
        set_entry(ROOT, IMAGE >> 22, IMAGE_TABLE | PRESENT | WRITE | BITS);
        set_entry(ROOT, MODULES >> 22, CODE_TABLE | PRESENT | WRITE | BITS);
        for (unsigned i = 0; i < RAM_SIZE >> 22; i++)
            set_entry(ROOT, (ROOM_LARGE >> 22) + i, (i << 22) | PRESENT | WRITE | BITS | LARGE);
    }
    for (unsigned i = 0; i < 16; i++)
        set_entry(IMAGE_TABLE, i, (IMAGE_GPA + i * PV_PAGE_SIZE) | PRESENT | WRITE | BITS);
    for (unsigned i = 0; i < 64; i++)
        map_page(MODULES + i * PV_PAGE_SIZE,
                 frame(MODULES + i * PV_PAGE_SIZE) | PRESENT | WRITE | BITS);
    vm_put(vm, IMAGE_GPA + (STORE - IMAGE), store, sizeof store);
    pv_code_init(vmm, IMAGE, IMAGE_END, 0, memory, memory_size);
    vmm->cpu.efer = pae ? EFER_NXE : 0;
    vmm->cpu.cr3 = ROOT;
    vmm->cpu.gpr[PV_ESP] = STACK_TOP;
    pv_write_cr(vmm, 4, pae ? CR4_PAE : CR4_PSE);
    pv_write_cr(vmm, 0, vmm->cpu.cr0 | CR0_PG | CR0_WP);
    vm->stop_from = RETURN;
    vm->stop_to = RETURN + 1;
}

/* Calls the guest code at (eip). */
static bool call(gva_t eip)
{
    struct pv_cpu *cpu = &vm->vmm->cpu;
    enum vm_end end;

    cpu->gpr[PV_ESP] = STACK_TOP - 4;
    vm_put32(vm, IMAGE_GPA + (STACK_TOP - 4 - IMAGE), RETURN);
    cpu->eip = eip;
    vm->step_limit = vm->steps + 10000;
    end = vm_run(vm);
    if (end != VM_END_STOP)
        printf("  ended by %d at %#x, %s%s\n", end, (unsigned)cpu->eip, vm->violation, vm->console);
    return end == VM_END_STOP && !vm->violation[0];
}

/* The guest itself writes (value) to (va). */
static bool store(gva_t va, uint8_t value)
{
    vm->vmm->cpu.gpr[PV_EAX] = value;
    vm->vmm->cpu.gpr[PV_ECX] = va;
    return call(STORE);
}

static bool said(const char *text)
{
    return strstr(vm->console, text) != NULL;
}

/* ---- a module ---- */

struct module {
    gva_t code;
    uint8_t bytes[3 * PV_PAGE_SIZE];
    size_t size;
    struct previrt_site sites[256];
    size_t count;
};

static void code(struct module *m, const void *bytes, size_t size)
{
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

/* A sensitive instruction, with redundant prefixes up to (length) bytes. */
static void site(struct module *m, const void *bytes, size_t size, unsigned length)
{
    struct previrt_ia32_insn insn;
    struct previrt_site *s = &m->sites[m->count++];
    size_t at = m->size;

    for (; size < length; length--)
        code(m, "\x3e", 1);
    code(m, bytes, size);
    if (previrt_ia32_decode_site(m->bytes + at, m->size - at, 0, &insn))
        abort();
    memset(s, 0, sizeof *s);
    s->arch = PREVIRT_ARCH_IA32;
    s->address = m->code + at;
    previrt_ia32_site_from_insn(&insn, s);
}

/*
 * cli; pushf; pop %eax; sti; pushf; pop %ecx; mov %cr0, %edx; mov %ds, %ebx, which a rewrite leaves
 * as it is; ret. (annotated): with room, and records. What it leaves in EAX, ECX and EDX says
 * whether the operations did what they should.
 */
static void probe(struct module *m, gva_t at, bool annotated)
{
    m->code = at;
    m->size = m->count = 0;
    site(m, "\xfa", 1, annotated ? 7 : 0);
    site(m, "\x9c", 1, annotated ? 6 : 0);
    code(m, "\x58", 1);
    site(m, "\xfb", 1, annotated ? 7 : 0);
    site(m, "\x9c", 1, annotated ? 5 : 0);
    code(m, "\x59", 1);
    site(m, "\x0f\x20\xc2", 3, annotated ? 5 : 0);
    site(m, "\x8c\xdb", 2, annotated ? 5 : 0);
    code(m, "\xc3", 1);
    if (!annotated)
        m->count = 0;
}

static bool probe_was_right(void)
{
    const struct pv_cpu *cpu = &vm->vmm->cpu;

    return !(cpu->gpr[PV_EAX] & EFLAGS_IF) && (cpu->gpr[PV_ECX] & EFLAGS_IF) &&
           cpu->gpr[PV_EDX] == cpu->cr0;
}

static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    const struct module *m = context;

    return address - m->code <= m->size && length <= m->size - (address - m->code)
               ? m->bytes + (address - m->code)
               : NULL;
}

/* The table as it will be mapped at (at). */
static size_t table(struct module *m, gva_t at, uint8_t *out, size_t room)
{
    if (previrt_table_encode(m->sites, m->count, at, text_of, m, out, &room))
        abort();
    return room;
}

/* What the module loader does, through the guest's RAM. */
static void load(struct module *m, gva_t table_at)
{
    uint8_t notes[4096];

    vm_put(vm, frame(m->code), m->bytes, m->size);
    if (table_at)
        vm_put(vm, frame(table_at), notes, table(m, table_at, notes, sizeof notes));
}

/* ---- tests ---- */

static void a_module_is_rewritten_before_it_runs(void)
{
    struct pv_vmm *vmm = vm->vmm;
    struct module m;

    start();
    probe(&m, ROOM_CODE + 0x123, true);
    load(&m, ROOM_TABLE + 0x40);
    CHECK(call(m.code));
    CHECK(probe_was_right());
    CHECK(vmm->count.emulated == 0);
    CHECK(vmm->count.found_tables == 1);
    CHECK(vmm->count.found_sites == m.count);
    CHECK(vmm->count.looks == 1);
    CHECK(call(m.code));
    CHECK(vmm->count.looks == 1);
    CHECK(!said("no patch-up table"));
    /* a write would be noticed */
    CHECK((vm_entry(vm, m.code) & (VM_ENTRY_WRITE | VM_ENTRY_EXEC)) == VM_ENTRY_EXEC);
}

static void code_in_two_places_has_one_table(void)
{
    struct pv_vmm *vmm = vm->vmm;
    struct module a, b;

    start();
    /* as a module's .init.text: with its own stretch, and no table in it */
    map_page(ROOM_INIT - PV_PAGE_SIZE, 0);
    probe(&a, ROOM_INIT + 0xff8, true);
    probe(&b, ROOM_CODE, true);
    load(&a, 0);
    load(&b, 0);
    for (size_t i = 0; i < 2; i++) { /* two fragments in a row */
        uint8_t notes[4096];
        struct module *m = i ? &b : &a;
        static size_t size;

        size = table(m, ROOM_TABLE + (i ? size : 0), notes, sizeof notes) + (i ? size : 0);
        vm_put(vm, frame(ROOM_TABLE) + (i ? size - table(m, ROOM_TABLE, notes, sizeof notes) : 0),
               notes, table(m, ROOM_TABLE, notes, sizeof notes));
        if (!i)
            continue;
        size = table(&a, ROOM_TABLE, notes, sizeof notes);
        vm_put(vm, frame(ROOM_TABLE) + size, notes,
               table(&b, ROOM_TABLE + (gva_t)size, notes, sizeof notes));
    }
    CHECK(call(a.code));
    CHECK(probe_was_right());
    CHECK(call(b.code));
    CHECK(probe_was_right());
    CHECK(vmm->count.found_tables == 1);
    CHECK(vmm->count.found_sites == a.count + b.count);
    CHECK(vmm->count.emulated == 0);
}

static void what_cannot_be_seen_is_named(void)
{
    static const uint8_t emulates[] = {PREVIRT_IA32_MOV_FROM_CR, 0};
    struct pv_vmm *vmm = vm->vmm;
    struct module m;
    char text[80];

    start();
    vmm->backend.emulates = emulates;
    probe(&m, ROOM_CODE, false);
    load(&m, 0);
    CHECK(call(m.code));
    /* pushf shows the processor's flag, not the guest's; the rest was emulated */
    CHECK(vm->vmm->cpu.gpr[PV_EAX] & EFLAGS_IF);
    CHECK(vmm->cpu.gpr[PV_EDX] == vmm->cpu.cr0);
    CHECK(vmm->count.emulated == 3);
    CHECK(said("has no patch-up table: 2 sensitive operations are emulated when they trap, 3 "
               "cannot be\n"));
    snprintf(text, sizeof text, "2 sensitive operations do not trap: pushf at %#x, pushf at %#x\n",
             m.code + 1, m.code + 4);
    CHECK(said(text));
    snprintf(text, sizeof text, "in its own way: mov from cr at %#x\n", m.code + 6);
    CHECK(said(text));
}

static void code_in_large_pages_is_looked_at(void)
{
    struct pv_vmm *vmm = vm->vmm;
    struct module m;

    start();
    probe(&m, ROOM_CODE, false);
    load(&m, 0);
    CHECK(call(ROOM_LARGE + (gva_t)frame(m.code)));
    CHECK(vmm->count.looks == 1);
    CHECK(said("cannot be\n"));
    /* its table is where tables are */
    probe(&m, ROOM_LARGE + (gva_t)frame(ROOM_CODE) + 0x2000, true);
    vm_put(vm, m.code - ROOM_LARGE, m.bytes, m.size);
    {
        uint8_t notes[4096];

        vm_put(vm, frame(ROOM_TABLE), notes, table(&m, ROOM_TABLE, notes, sizeof notes));
    }
    CHECK(call(m.code));
    CHECK(probe_was_right());
    CHECK(vmm->count.found_tables == 1);
}

/* The guest writes to a page that was looked at, byte for byte, as a loader that uses it again. */
static void written_code_is_looked_at_again(void)
{
    struct pv_vmm *vmm = vm->vmm;
    struct module m;
    uint32_t numbers = 0;

    start();
    for (unsigned round = 0; round < 40; round++) {
        uint8_t notes[4096];
        size_t size;

        probe(&m, ROOM_CODE + round % 7, true);
        size = table(&m, ROOM_TABLE, notes, sizeof notes);
        code(&m, "\0\0\0\0\0\0\0", 7); /* over what is left of the longer one before */
        for (size_t i = 0; i < m.size; i++)
            if (!store(m.code + (gva_t)i, m.bytes[i]))
                return;
        for (size_t i = 0; i < size; i++)
            if (!store(ROOM_TABLE + (gva_t)i, notes[i]))
                return;
        CHECK(vmm->count.code_writes == round);
        CHECK(!(vm_entry(vm, m.code) & VM_ENTRY_EXEC));
        CHECK(call(m.code));
        CHECK(probe_was_right());
        CHECK(vmm->count.found_tables == round + 1);
        if (!round)
            numbers = vmm->stubs.count;
        CHECK(vmm->stubs.count == numbers); /* what the one before had was given back */
        CHECK(vmm->code.tables == 2);
    }
    CHECK(vmm->count.emulated == 0);
}

/* Many modules come and go, in any order: their stubs must not run out, nor be mixed up. */
static void modules_come_and_go(void)
{
    enum { PLACES = 12, ROUNDS = 400 };
    struct pv_vmm *vmm = vm->vmm;
    uint32_t random = 1;
    bool loaded[PLACES] = {false};
    static struct module m[PLACES];

    start();
    for (unsigned i = 0; i < 64; i++)
        map_page(MODULES + i * PV_PAGE_SIZE, 0);
    pv_shadow_flush_all(vmm);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned k = (random = random * 1664525 + 1013904223) >> 8;
        unsigned i = k % PLACES;
        gva_t at = MODULES + i * 4 * PV_PAGE_SIZE;
        uint8_t notes[4096];

        if (loaded[i] && (k >> 8 & 1)) {
            for (unsigned p = 0; p < 4; p++) {
                map_page(at + p * PV_PAGE_SIZE, 0);
                pv_shadow_invlpg(vmm, at + p * PV_PAGE_SIZE);
            }
            loaded[i] = false;
        } else if (!loaded[i]) {
            for (unsigned p = 0; p < 4; p++)
                map_page(at + p * PV_PAGE_SIZE,
                         frame(at + p * PV_PAGE_SIZE) | PRESENT | WRITE | BITS);
            memset(vm->ram + frame(at), 0, 4 * PV_PAGE_SIZE);
            probe(&m[i], at + (k >> 16) % 64, true);
            for (unsigned more = k >> 9 & 31; more; more--) /* not executed */
                site(&m[i], "\x0f\x20\xc2", 3, 5);
            load(&m[i], 0);
            vm_put(vm, frame(at + 3 * PV_PAGE_SIZE), notes,
                   table(&m[i], at + 3 * PV_PAGE_SIZE, notes, sizeof notes));
            pv_shadow_flush_all(vmm); /* the loader has written to all of it */
            loaded[i] = true;
        }
        for (unsigned j = 0; j < PLACES; j++)
            if (loaded[j] && (!call(m[j].code) || !probe_was_right())) {
                CHECK(!"a module does what it should");
                printf("  place %u of %u, round %u: %s\n", j, i, round, vm->console);
                return;
            }
    }
    CHECK(vmm->count.emulated == 0);
    CHECK(vmm->count.found_tables > ROUNDS / 4);
    for (unsigned i = 1; i < vmm->stubs.count; i++)
        if (vmm->stubs.stub[i].address < vmm->stubs.stub[i - 1].address)
            CHECK(!"stubs are in the order of their addresses");
}

static void another_frame_is_looked_at(void)
{
    struct pv_vmm *vmm = vm->vmm;
    struct module m;

    start();
    probe(&m, ROOM_CODE, true);
    load(&m, ROOM_TABLE);
    CHECK(call(m.code));
    /* the same code, not rewritten, in another frame */
    vm_put(vm, frame(ROOM_CODE) + 0x100000, m.bytes, m.size);
    map_page(ROOM_CODE, (frame(ROOM_CODE) + 0x100000) | PRESENT | WRITE | BITS);
    pv_shadow_invlpg(vmm, ROOM_CODE);
    CHECK(call(m.code));
    CHECK(probe_was_right());
    CHECK(vmm->count.found_tables == 2);
    CHECK(vmm->count.emulated == 0);
}

static void code_that_writes_to_itself_goes_on(void)
{
    /* movb $1, next + 1; next: mov $0, %al; incb count; ret */
    static const uint8_t bytes[] = {0xc6, 0x05, 0, 0, 0, 0, 1, 0xb0, 0, 0xc3};
    struct module m = {.code = ROOM_CODE};
    uint32_t at = ROOM_CODE + 8;

    start();
    code(&m, bytes, sizeof bytes);
    memcpy(m.bytes + 2, &at, 4);
    load(&m, 0);
    for (unsigned i = 0; i < 4; i++) {
        CHECK(call(m.code));
        CHECK(vm->ram[frame(at)] == 1);
    }
    CHECK(vm->vmm->count.looks <= 2);
    CHECK(said("writes to itself"));
}

static void a_stack_beside_code_stays_writable(void)
{
    struct pv_cpu *cpu = &vm->vmm->cpu;
    struct module m;

    start();
    probe(&m, ROOM_CODE, true);
    load(&m, ROOM_TABLE);
    cpu->gpr[PV_ESP] = ROOM_CODE + 0x800;
    vm_put32(vm, frame(ROOM_CODE + 0x800), RETURN);
    cpu->eip = m.code;
    vm->step_limit = vm->steps + 1000;
    CHECK(vm_run(vm) == VM_END_STOP);
    CHECK(probe_was_right());
    CHECK(vm_entry(vm, ROOM_CODE) & VM_ENTRY_WRITE);
}

/* Linux' alternatives replace rdtsc while they load a module: the rest is rewritten, that stays. */
static void what_alternatives_replaced_stays(void)
{
    static const uint8_t fenced[] = {0x0f, 0xae, 0xe8, 0x0f, 0x31}; /* lfence; rdtsc */
    struct module m;
    size_t at;

    start();
    probe(&m, ROOM_CODE, true);
    m.size--; /* its ret */
    at = m.size;
    site(&m, "\x0f\x31", 2, 5);
    code(&m, "\xc3", 1);
    load(&m, ROOM_TABLE);
    vm_put(vm, frame(ROOM_CODE) + at, fenced, sizeof fenced);
    CHECK(call(m.code));
    CHECK(vm->vmm->count.found_tables == 1);
    CHECK(vm->vmm->count.op[PREVIRT_IA32_RDTSC] == 0);
    CHECK(vm->vmm->count.emulated == 0);
    CHECK(memcmp(vm->ram + frame(ROOM_CODE) + at, fenced, sizeof fenced) == 0);
    CHECK(vm->ram[frame(ROOM_CODE)] == 0xe9 || vm->ram[frame(ROOM_CODE)] == 0xc6);
    /* something else than rdtsc that differs is a table that lies */
    start();
    load(&m, ROOM_TABLE);
    vm_put(vm, frame(ROOM_CODE) + at, fenced, sizeof fenced);
    vm->ram[frame(ROOM_CODE) + 6] = 0x90; /* nop for cli */
    CHECK(call(m.code));
    CHECK(vm->vmm->count.found_tables == 0);
    CHECK(said("is refused"));
}

/* Every byte of a table, changed: the guest runs on, what is refused is refused as a whole. */
static void tables_that_lie_change_nothing(void)
{
    struct module m, before;
    uint8_t notes[4096];
    size_t size;
    unsigned refused = 0, accepted = 0;

    probe(&m, ROOM_CODE, true);
    size = table(&m, ROOM_TABLE, notes, sizeof notes);
    for (size_t i = 0; i < size; i++)
        for (unsigned bit = pae ? 0 : i % 8; bit < 8; bit += pae ? 1 : 8) {
            start();
            load(&m, ROOM_TABLE);
            before = m;
            vm->ram[frame(ROOM_TABLE) + i] ^= 1u << bit;
            if (!call(m.code)) {
                printf("  byte %zu bit %u\n", i, bit);
                CHECK(!"the guest runs on");
                continue;
            }
            if (vm->vmm->count.found_tables) {
                accepted++;
                continue;
            }
            refused++;
            if (memcmp(vm->ram + frame(m.code), before.bytes, before.size) != 0)
                CHECK(!"nothing is written");
        }
    CHECK(refused > size / 2);
    printf("  %u of %u tables with a changed bit refused\n", refused, refused + accepted);
}

/* A table may not have the image, the VMM's pages, data or another mapping rewritten. */
static void tables_reach_only_code(void)
{
    struct module m;
    uint8_t notes[4096];

    if (!pae)
        return; /* nothing is data there */
    start();
    probe(&m, ROOM_CODE, true);
    load(&m, ROOM_TABLE);
    /* one site more, in a page that is not executable */
    m.sites[m.count] = m.sites[0];
    m.sites[m.count++].address = ROOM_TABLE + 0x1000;
    m.size = ROOM_TABLE + 0x1100 - ROOM_CODE;
    if (m.size > sizeof m.bytes) {
        static struct module large;
        uint8_t *out = notes;
        size_t room = sizeof notes;

        /* encoded by hand: a second fragment */
        large.code = ROOM_TABLE + 0x1000;
        large.size = 0;
        large.count = 0;
        site(&large, "\xfa", 1, 7);
        m.size = 64;
        m.count--;
        room = table(&m, ROOM_TABLE, out, room);
        vm_put(vm, frame(ROOM_TABLE), out, room);
        vm_put(vm, frame(large.code), large.bytes, large.size);
        size_t more = table(&large, ROOM_TABLE + (gva_t)room, out, sizeof notes);
        vm_put(vm, frame(ROOM_TABLE) + room, out, more);
    }
    map_page(ROOM_TABLE, frame(ROOM_TABLE) | PRESENT | BITS | NX);
    map_page(ROOM_TABLE + 0x1000, frame(ROOM_TABLE + 0x1000) | PRESENT | WRITE | BITS | NX);
    pv_shadow_flush_all(vm->vmm);
    CHECK(call(m.code));
    CHECK(vm->vmm->count.found_tables == 0);
    CHECK(said("is refused"));
    CHECK(vm->ram[frame(ROOM_TABLE + 0x1000)] == 0x3e);
}

static uint32_t below(size_t limit)
{
    static uint32_t state = 1;

    state = state * 1664525 + 1013904223;
    return (uint32_t)((state >> 8) % limit);
}

/* Tables, code and page-table entries at random: whatever becomes of the guest, the VMM keeps its
 * rules, and nothing is executable that the guest can write to without being noticed. */
static void hostile_memory_is_survived(void)
{
    enum { ROUNDS = 300, CALLS = 4 };
    unsigned found = 0, ended = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct module m;
        uint8_t notes[4096];
        gva_t table_at = ROOM_TABLE + below(3 * PV_PAGE_SIZE);
        size_t size;

        start();
        table_at &= below(8) ? ~3u : ~0u;
        probe(&m, ROOM_CODE + below(2 * PV_PAGE_SIZE), true);
        size = table(&m, table_at, notes, sizeof notes);
        load(&m, 0);
        for (size_t i = 0; i < size; i++)
            vm_put(vm, frame(table_at + (gva_t)i), notes + i, 1);
        for (unsigned change = below(4); change; change--)
            vm->ram[frame(table_at) + below(size)] = (uint8_t)below(256);
        for (unsigned change = below(3); change; change--)
            vm->ram[frame(m.code) + below(m.size)] = (uint8_t)below(256);
        for (unsigned change = below(4); change; change--) {
            static const gpa_t targets[] = {ROOT,       DIRECTORY, IMAGE_TABLE,     CODE_TABLE,
                                            IMAGE_GPA,  FRAMES,    FRAMES + 0x1000, RAM_SIZE,
                                            0xfffff000u};
            gva_t va = MODULES + below(64) * PV_PAGE_SIZE;
            uint64_t entry = targets[below(sizeof targets / sizeof *targets)];

            if (pae && !below(8))
                entry |= 1ull << (32 + below(32));
            map_page(va, entry | below(256));
        }
        for (unsigned i = 0; i < CALLS && !vm->vmm->dead && !vm->powered; i++) {
            struct pv_cpu *cpu = &vm->vmm->cpu;

            cpu->gpr[PV_ESP] = STACK_TOP - 4;
            vm_put32(vm, IMAGE_GPA + (STACK_TOP - 4 - IMAGE), RETURN);
            cpu->gpr[PV_ECX] = MODULES + below(64 * PV_PAGE_SIZE);
            cpu->gpr[PV_EAX] = below(256);
            cpu->eip = i & 1 ? STORE : m.code;
            vm->step_limit = vm->steps + 1000;
            vm_run(vm);
            if (vm->violation[0]) {
                printf("  round %u: %s\n", round, vm->violation);
                CHECK(!"the VMM keeps its rules");
                return;
            }
            for (unsigned page = 0; page < 64; page++) {
                const unsigned both = VM_ENTRY_WRITE | VM_ENTRY_EXEC;
                gva_t va = MODULES + page * PV_PAGE_SIZE;

                if ((vm_entry(vm, va) & both) == both && !said("writes to itself"))
                    CHECK(!"no page is writable and executable");
            }
            if (i & 1)
                pv_shadow_flush_all(vm->vmm);
        }
        found += vm->vmm->count.found_tables > 0;
        ended += vm->vmm->dead;
    }
    printf("  hostile memory: %u guests of %u had a table found, %u were ended\n", found, ROUNDS,
           ended);
    CHECK(found > ROUNDS / 20 && found < ROUNDS);
}

int main(void)
{
    static void (*const tests[])(void) = {
        a_module_is_rewritten_before_it_runs, code_in_two_places_has_one_table,
        what_cannot_be_seen_is_named,         code_in_large_pages_is_looked_at,
        written_code_is_looked_at_again,      modules_come_and_go,
        another_frame_is_looked_at,           code_that_writes_to_itself_goes_on,
        a_stack_beside_code_stays_writable,   what_alternatives_replaced_stays,

        tables_that_lie_change_nothing,       tables_reach_only_code,
        hostile_memory_is_survived,
    };

    memory = malloc(memory_size);
    vm = vm_new(RAM_SIZE, &vm_unicorn);
    for (int kind = 0; kind < 2; kind++) {
        pae = kind;
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
            tests[i]();
    }
    vm_free(vm);
    free(memory);
    printf("%u checks, %u failures\n", checks, failures);
    return failures ? 1 : 0;
}
