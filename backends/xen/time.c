/* SPDX-License-Identifier: BSD-2-Clause */
/* Time, the timer, and events. */
#include "xen.h"
#include <xen/sched.h>

static evtchn_port_t timer_port;

uint64_t x_now(void *context)
{
    volatile struct vcpu_time_info *t = &pv_xen_shared()->vcpu_info[0].time;
    uint32_t version, lo, hi;
    uint64_t delta, now;

    (void)context;
    do {
        version = t->version;
        __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
        delta = ((uint64_t)hi << 32 | lo) - t->tsc_timestamp;
        if (t->tsc_shift < 0)
            delta >>= -t->tsc_shift;
        else
            delta <<= t->tsc_shift;
        now = t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
        __asm__ volatile("" ::: "memory");
    } while ((version & 1) || version != t->version);
    return now;
}

/* The wall clock when the hypervisor's own began (xen.h: "System time == 0"), and what has passed
 * since. */
uint64_t x_date(void *context)
{
    const volatile shared_info_t *s = pv_xen_shared();
    uint32_t version, seconds, nanoseconds, high;

    do {
        version = s->wc_version;
        __asm__ volatile("" ::: "memory");
        seconds = s->wc_sec;
        nanoseconds = s->wc_nsec;
        high = s->wc_sec_hi;
        __asm__ volatile("" ::: "memory");
    } while ((version & 1) || version != s->wc_version);
    return ((uint64_t)high << 32 | seconds) + (nanoseconds + x_now(context)) / 1000000000u;
}

static uint64_t deadline_set = ~0ull;

void x_set_deadline(void *context, uint64_t when)
{
    (void)context;
    if (when == deadline_set)
        return;
    deadline_set = when;
    pv_guest.count.timers++;
    hypercall3(__HYPERVISOR_set_timer_op, when == PREVIRT_NEVER ? 0 : when, 0, 0);
}

void pv_xen_events(void)
{
    volatile struct vcpu_info *v = &pv_xen_shared()->vcpu_info[0];

    pv_guest.count.upcalls++;
    v->evtchn_upcall_pending = 0;
    /* which words of evtchn_pending have something (event_channel.h) */
    for (uint64_t words = __atomic_exchange_n(&v->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST); words;
         words &= words - 1)
        __atomic_exchange_n(&pv_xen_shared()->evtchn_pending[__builtin_ctzll(words)], 0,
                            __ATOMIC_SEQ_CST);
    deadline_set = ~0ull;
    pv_xen_poll_console();
    pv_time(&pv_guest);
}

void x_block(void *context)
{
    evtchn_port_t ports[2] = {timer_port, pv_xen_console_port()};
    struct sched_poll poll = {.nr_ports = 2, .timeout = 0};

    (void)context;
    set_xen_guest_handle(poll.ports, ports);
    if (!pv_xen_typed())
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll, 0);
    pv_xen_events();
}

void pv_xen_unmask_port(evtchn_port_t port)
{
    struct evtchn_unmask unmask = {.port = port};

    hypercall3(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &unmask, 0);
}

evtchn_port_t pv_xen_bind_virq(unsigned virq)
{
    struct evtchn_bind_virq bind = {.virq = virq, .vcpu = 0};
    long r = hypercall3(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind, 0);

    if (r)
        pv_xen_panic("cannot bind virq", r);
    pv_xen_unmask_port(bind.port);
    return bind.port;
}

void pv_xen_start_timer(void)
{
    timer_port = pv_xen_bind_virq(VIRQ_TIMER);
}
