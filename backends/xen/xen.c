/* SPDX-License-Identifier: BSD-2-Clause */
/* The Xen back-end's start, its end, and the ways in from entry.S. */
#include "xen.h"
#include <xen/sched.h>
#include <xen/physdev.h>
#include <xen/vcpu.h>
#include "emulates.h"
#include "offsets.h"

#define SITES_MAX 16384

extern char pv_trap_entries[], pv_event_entry[], pv_failsafe_entry[], pv_stack_top[];
extern char pv_low_entry[], pv_low_entry_end[], page_fault_entry[], int80_entry[];

/* The last segment of the image, which `previrt pack` replaces: one page of header, then the
 * guest's ELF file. */
struct pv_xen_guest {
    char magic[8];
    uint64_t size;
    uint8_t reserved[4080];
    uint8_t image[];
};
extern const struct pv_xen_guest pv_guest_segment;

struct pv_vmm pv_guest;

static struct pv_node nodes[PV_NODES];
static struct pv_op_site sites[SITES_MAX];
static struct pv_stub stubs[SITES_MAX];
uint8_t pv_low_pages[LOW_SIZE + STUBS_SIZE] __attribute__((aligned(4096)));
static uint8_t plan_memory[8u << 20] __attribute__((aligned(16)));
uint8_t pv_shared_info_page[4096] __attribute__((aligned(4096)));
const unsigned long *pv_xen_p2m;

/* ---- the end ---- */

void pv_xen_panic(const char *what, long value)
{
    char b[20];

    for (int i = 0; i < 16; i++)
        b[i] = "0123456789abcdef"[(unsigned long)value >> (60 - 4 * i) & 15];
    b[16] = '\n';
    pv_xen_write("previrt: ", 9);
    for (const char *w = what; *w; w++)
        pv_xen_write(w, 1);
    pv_xen_write(" ", 1);
    pv_xen_write(b, 17);
    pv_xen_stop(PV_POWER_ENDED);
}

/*
 * Where the machine has a debug-exit port it learns the reason there: also of a reset, which would
 * look the same if the hypervisor ended the domain.
 */
void pv_xen_stop(int status)
{
    enum { RESET = 0x20 };
    struct sched_shutdown sd = {.reason = status ? SHUTDOWN_crash : SHUTDOWN_reboot};
    struct physdev_set_iopl iopl = {.iopl = 1};

    if (!hypercall3(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &iopl, 0))
        __asm__ volatile("outl %0, %w1" ::"a"(status == PV_POWER_RESET ? RESET : status),
                         "Nd"(PREVIRT_DEBUG_EXIT_PORT));
    for (;;)
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &sd, 0);
}

static void x_power(void *context, int status)
{
    (void)context;
    pv_xen_stop(status);
}

static const uint8_t x_emulates[] = {PV_XEN_EMULATES, 0};

/* ---- registers ---- */

static void x_set_debug_register(void *context, unsigned number, uint32_t value)
{
    long r = hypercall3(__HYPERVISOR_set_debugreg, number, value, 0);

    (void)context;
    if (r)
        pv_printf(&pv_guest, "previrt: Xen refused debug register %u = %#x: %ld\n", number, value,
                  r);
}

static uint32_t x_debug_status(void *context)
{
    (void)context;
    return (uint32_t)hypercall3(__HYPERVISOR_get_debugreg, 6, 0, 0);
}

static void x_set_ts(void *context, int on)
{
    (void)context;
    hypercall3(__HYPERVISOR_fpu_taskswitch, on, 0, 0);
}

/* ---- the ways in ---- */

void pv_xen_operation(uint32_t number)
{
    pv_stub_operation(&pv_guest, number);
}

void pv_xen_trap(unsigned vector, uint32_t error, uint32_t cs, uint32_t ss)
{
    pv_interrupted(&pv_guest, cs, ss);
    if (pv_guest.cpu.user)
        pv_fast.user_gs = pv_xen_gs(); /* user code may have loaded it itself */
    if (vector == EVENT_VECTOR) {
        pv_xen_events();
        return;
    }
    if (vector == FAILSAFE_VECTOR) {
        pv_die(&pv_guest, "failsafe callback: a segment selector of the guest is bad");
        return;
    }
    if (vector == PV_SYSCALL_VECTOR)
        pv_guest.tables_changed = 1; /* or it would have come the fast way */
    pv_trap(&pv_guest, vector, error, pv_xen_shared()->vcpu_info[0].arch.cr2);
}

void pv_xen_fatal(const unsigned long *frame)
{
    pv_printf(&pv_guest,
              "previrt: fault in the VMM: vector %lu error %lx rip %lx cs %lx rflags %lx rsp %lx "
              "cr2 %lx\n",
              frame[0], frame[1], frame[2], frame[3], frame[4], frame[5],
              (unsigned long)pv_xen_shared()->vcpu_info[0].arch.cr2);
    pv_die(&pv_guest, "the VMM failed");
    pv_xen_stop(PV_POWER_ENDED); /* of which it was already in the middle */
}

/* ---- start ---- */

void pv_xen_main(start_info_t *si)
{
    static trap_info_t traps[22];
    struct pv_boot boot;
    unsigned n = 0;
    long r;

    pv_xen_p2m = (const unsigned long *)si->mfn_list;
    pv_guest.node = nodes;
    pv_guest.page = (volatile struct previrt_vcpu_page *)pv_low_pages;
    pv_guest.low_base = LOW_BASE;
    pv_guest.low_size = 0u - LOW_BASE;
    pv_guest.backend = (struct pv_backend){.map = x_map,
                                           .unmap = x_unmap,
                                           .clear = x_clear,
                                           .activate = x_activate,
                                           .set_descriptor = x_set_descriptor,
                                           .set_local_descriptor = x_set_local_descriptor,
                                           .set_ldt = x_set_ldt,
                                           .set_debug_register = x_set_debug_register,
                                           .debug_status = x_debug_status,
                                           .set_ts = x_set_ts,
                                           .segment_load = x_segment_load,
                                           .segment_read = x_segment_read,
                                           .console = x_console,
                                           .now = x_now,
                                           .date = x_date,
                                           .set_deadline = x_set_deadline,
                                           .block = x_block,
                                           .power = x_power,
                                           .emulates = x_emulates};

    pv_guest.stubs = (struct pv_stubs){.site = sites,
                                       .stub = stubs,
                                       .limit = SITES_MAX,
                                       .address = LOW_STUBS,
                                       .size = STUBS_SIZE,
                                       .memory = pv_low_pages + (LOW_STUBS - LOW_BASE),
                                       .untranslated = pv_low_pages + LOW_SIZE,
                                       .entry = LOW_ENTRY,
                                       .iret_entry = PV_XEN_LOW_IRET,
                                       .entry_selector = FLAT_RING3_CS64,
                                       .native_tsc = 1,
                                       .tell_gs = 1};

    r = hypercall5(__HYPERVISOR_update_va_mapping, pv_shared_info_page,
                   si->shared_info | X_P | X_RW, UVMF_INVLPG, 0, 0);
    if (r)
        pv_xen_panic("cannot map shared_info", r);
    pv_xen_shared()->vcpu_info[0].evtchn_upcall_mask = 1;
    pv_xen_start_console(si);

    pv_xen_build_segments();
    for (unsigned v = 0; v <= 20; v++) {
        unsigned vector = v == 20 ? PV_SYSCALL_VECTOR : v;

        if (vector == VECTOR_NMI || vector == VECTOR_DF || vector == 9 || vector == 15 ||
            vector == 18)
            continue;
        traps[n].vector = vector;
        /* TI_SET_DPL, TI_SET_IF: events are masked on entry */
        traps[n].flags =
            4 | (vector == PV_SYSCALL_VECTOR || vector == VECTOR_BP || vector == VECTOR_OF ? 3 : 0);
        traps[n].cs = FLAT_KERNEL_CS;
        traps[n++].address = (unsigned long)(vector == PV_SYSCALL_VECTOR ? int80_entry
                                             : vector == VECTOR_PF       ? page_fault_entry
                                                                   : pv_trap_entries + 32 * v);
    }
    r = hypercall3(__HYPERVISOR_set_trap_table, traps, 0, 0);
    r = r ? r : hypercall3(__HYPERVISOR_set_callbacks, pv_event_entry, pv_failsafe_entry, 0);
    r = r ? r : hypercall3(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, pv_stack_top, 0);
    if (r)
        pv_xen_panic("cannot register entry points", r);

    pv_xen_build_memory(si);
    pv_xen_clear_ram();
    pv_xen_start_timer();
    for (size_t i = 0; i < (size_t)(pv_low_entry_end - pv_low_entry); i++)
        pv_low_pages[LOW_ENTRY - LOW_BASE + i] = pv_low_entry[i];
    pv_guest.page->eflags = EFLAGS_FIXED;
    pv_guest.page->version = PREVIRT_VCPU_VERSION;
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    pv_shadow_init(&pv_guest);
    pv_devices_init(&pv_guest);
    if (!pv_guest_segment.size) {
        pv_refuse(&pv_guest, PV_POWER_REFUSED,
                  "there is no guest in this image: previrt pack puts one in");
        return;
    }
    boot = (struct pv_boot){.image = pv_guest_segment.image,
                            .size = pv_guest_segment.size,
                            .module = (const void *)si->mod_start,
                            .module_size = si->mod_len,
                            .command_line = (const char *)si->cmd_line};
    if (pv_load(&pv_guest, &boot) || pv_rewrite(&pv_guest, &boot, plan_memory, sizeof plan_memory))
        return;
    pv_sync_descriptors(&pv_guest);
    x_segment_load(NULL, PV_DS, 0x18);
    x_segment_load(NULL, PV_ES, 0x18);
    for (gva_t va = 0; va < (64u << 20) && va < pv_guest.ram_size; va += PV_NODE_SPAN)
        pv_shadow_fault(&pv_guest, va, PFE_W);
    pv_printf(&pv_guest, "previrt: counters at machine address %#lx\n",
              pv_xen_p2m[pv_xen_pfn(&pv_guest.count)] << 12);
    pv_printf(&pv_guest, "previrt: starting the guest at %#x, %llu MiB\n",
              (unsigned)pv_guest.cpu.eip, (unsigned long long)pv_guest.ram_size >> 20);
    pv_time(&pv_guest);
    __asm__ volatile("jmp pv_resume");
    __builtin_unreachable();
}
