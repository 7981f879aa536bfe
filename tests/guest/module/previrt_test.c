// SPDX-License-Identifier: BSD-2-Clause
/*
 * A loadable module that executes sensitive operations and says whether each did what it should.
 * The same source is built through previrt and without it: tests/boot/modules.
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <asm/cpu.h>
#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>

#define SPIN_MS        30 /* three ticks of 100 Hz */
#define UNKNOWN_MSR    0x12345678
#define CMOS_INDEX     0x70
#define CMOS_DATA      0x71
#define CMOS_D         0x0d
#define CMOS_D_VALID   0x80 /* MC146818: VRT */
#define CR0_ALWAYS     (X86_CR0_PE | X86_CR0_WP | X86_CR0_PG)
#define SELECTOR_LEVEL 3u

static unsigned int right, wrong;

static void verdict(const char *what, bool ok, unsigned long found, unsigned long wanted)
{
    if (ok) {
        right++;
        return;
    }
    wrong++;
    pr_info("previrt-module: WRONG %s: %#lx, not %#lx\n", what, found, wanted);
}

static void equal(const char *what, unsigned long found, unsigned long wanted)
{
    verdict(what, found == wanted, found, wanted);
}

static __always_inline unsigned long flags_now(void)
{
    unsigned long flags;

    asm volatile("pushf\n\tpop %0" : "=r"(flags) : : "memory");
    return flags;
}

/* Ticks while (SPIN_MS) milliseconds pass. */
static unsigned long ticks_while_spinning(void)
{
    unsigned long before = jiffies;

    mdelay(SPIN_MS);
    return jiffies - before;
}

static void interrupt_flag(void)
{
    unsigned long flags, saved = flags_now(), ticks;

    verdict("pushf, interrupts on", saved & X86_EFLAGS_IF, saved, X86_EFLAGS_IF);
    asm volatile("cli" : : : "memory");
    flags = flags_now();
    verdict("pushf after cli", !(flags & X86_EFLAGS_IF), flags, 0);
    ticks = ticks_while_spinning();
    equal("ticks after cli", ticks, 0);
    asm volatile("push %0\n\tpopf" : : "r"(saved) : "memory", "cc");
    flags = flags_now();
    verdict("pushf after popf", flags & X86_EFLAGS_IF, flags, X86_EFLAGS_IF);
    ticks = ticks_while_spinning();
    verdict("ticks after popf", ticks > 0, ticks, SPIN_MS / 10);
    asm volatile("cli" : : : "memory");
    asm volatile("sti" : : : "memory");
    ticks = ticks_while_spinning();
    verdict("ticks after sti", ticks > 0, ticks, SPIN_MS / 10);
    asm volatile("push %0\n\tpopf" : : "r"(saved & ~X86_EFLAGS_IF) : "memory", "cc");
    flags = flags_now();
    verdict("pushf after popf without IF", !(flags & X86_EFLAGS_IF), flags, 0);
    ticks = ticks_while_spinning();
    equal("ticks after popf without IF", ticks, 0);
    asm volatile("sti" : : : "memory");

    local_irq_save(flags);
    verdict("local_irq_save", irqs_disabled(), 0, 1);
    local_irq_restore(flags);
    verdict("local_irq_restore", !irqs_disabled(), 0, 1);
    local_irq_enable();

    ticks = jiffies;
    asm volatile("sti\n\thlt" : : : "memory");
    verdict("sti; hlt", jiffies != ticks, jiffies - ticks, 1);
}

static void segments(void)
{
    unsigned long cs, ss, task;
    unsigned short word;

    asm volatile("mov %%cs, %0" : "=r"(cs));
    equal("mov from cs", cs & 0xffff, __KERNEL_CS);
    asm volatile("mov %%ss, %0" : "=r"(ss));
    equal("mov from ss", ss & 0xffff, __KERNEL_DS);
    asm volatile("push %%cs\n\tpop %0" : "=r"(cs));
    equal("push cs", cs & 0xffff, __KERNEL_CS);
    asm volatile("str %w0" : "=q"(task) : "0"(0ul));
    equal("str", task & 0xffff, GDT_ENTRY_TSS * 8);
    asm volatile("sldt %0" : "=m"(word));
    verdict("sldt to memory", !(word & SELECTOR_LEVEL), word, 0);
}

static void control_registers(void)
{
    unsigned long value, cr0, old;

    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    equal("mov from cr0", cr0 & CR0_ALWAYS, CR0_ALWAYS);
    asm volatile("smsw %0" : "=r"(value));
    equal("smsw", value & 0xffff, cr0 & 0xffff);
    asm volatile("mov %%cr3, %0" : "=r"(value));
    equal("mov from cr3", value & ~0x1ful, __pa(current->active_mm->pgd));
    asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
    asm volatile("mov %%cr4, %0" : "=r"(value));
    equal("mov from cr4", value, cr4_read_shadow());
    asm volatile("mov %%cr2, %0" : "=r"(old));
    asm volatile("mov %0, %%cr2" : : "r"(0x2468ace0ul));
    asm volatile("mov %%cr2, %0" : "=r"(value));
    equal("mov to cr2", value, 0x2468ace0ul);
    asm volatile("mov %0, %%cr2" : : "r"(old));
    asm volatile("invlpg %0" : : "m"(*(char *)&right) : "memory");
    asm volatile("mov %%dr7, %0" : "=r"(value));
    equal("mov from dr7", value, 0x400);
    wbinvd();
}

static void ports(void)
{
    outb(CMOS_D, CMOS_INDEX);
    equal("in and out", inb(CMOS_DATA), CMOS_D_VALID);
}

static void processor(void)
{
    unsigned int a = 0, b = 0, c = 0, d = 0, low, high, last;
    char vendor[13] = "";
    u64 value;

    cpuid(0, &a, &b, &c, &d);
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    verdict("cpuid", !strcmp(vendor, boot_cpu_data.x86_vendor_id), b, 0);
    equal("cpuid, family", x86_family(cpuid_eax(1)), boot_cpu_data.x86);
    equal("cpuid, leaves", a, boot_cpu_data.cpuid_level);
    /* #GP, and the exception table of the module; QEMU's own translator has none for it */
    pr_info("previrt-module: unknown registers: %s\n",
            rdmsr_safe(UNKNOWN_MSR, &low, &high) && wrmsr_safe(UNKNOWN_MSR, 0, 0) ? "fault"
                                                                                  : "do not fault");
    if (boot_cpu_has(X86_FEATURE_SEP)) {
        equal("rdmsr", rdmsrl_safe(MSR_IA32_SYSENTER_CS, &value), 0);
        equal("rdmsr of SYSENTER_CS", value, __KERNEL_CS);
    }
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    udelay(10);
    asm volatile("rdtsc" : "=a"(last), "=d"(high));
    verdict("rdtsc", last != low, last, low);
}

static int __init previrt_test_init(void)
{
    interrupt_flag();
    segments();
    control_registers();
    ports();
    processor();
    pr_info("previrt-module: %u right, %u wrong\n", right, wrong);
    return 0;
}

/* In another section than what runs first, and later. */
static void __exit previrt_test_exit(void)
{
    unsigned long flags;

    asm volatile("cli" : : : "memory");
    flags = flags_now();
    asm volatile("sti" : : : "memory");
    pr_info("previrt-module: exit: %s\n",
            !(flags & X86_EFLAGS_IF) && (flags_now() & X86_EFLAGS_IF) ? "right" : "wrong");
}

module_init(previrt_test_init);
module_exit(previrt_test_exit);
MODULE_DESCRIPTION("sensitive operations in a module");
MODULE_LICENSE("Dual BSD/GPL");
