/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console: the hypervisor's own for domain 0; for others a ring in a page of the domain's,
 * which domain 0 fills and empties, and an event channel (xen/io/console.h).
 */
#include "xen.h"
#include <xen/sched.h>
#include <xen/io/console.h>

static evtchn_port_t port;
static uint8_t ring_page[PV_PAGE_SIZE] __attribute__((aligned(4096)));
static struct xencons_interface *ring; /* NULL: domain 0 */
static int stuck;                      /* nobody has made room for a long time */

void pv_xen_start_console(const start_info_t *si)
{
    long r;

    if (si->flags & SIF_INITDOMAIN) {
        port = pv_xen_bind_virq(VIRQ_CONSOLE);
        return;
    }
    port = si->console.domU.evtchn;
    r = hypercall5(__HYPERVISOR_update_va_mapping, ring_page,
                   si->console.domU.mfn << 12 | X_P | X_RW, UVMF_INVLPG, 0, 0);
    if (r)
        pv_xen_panic("cannot map the console's ring", r);
    ring = (struct xencons_interface *)ring_page;
    pv_xen_unmask_port(port);
}

evtchn_port_t pv_xen_console_port(void)
{
    return port;
}

int pv_xen_typed(void)
{
    return ring && ring->in_cons != __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE);
}

static void notify(void)
{
    struct evtchn_send send = {.port = port};

    hypercall3(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send, 0);
}

static int full(void)
{
    return ring->out_prod - __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) >= sizeof ring->out;
}

/* Waits until domain 0 has made room, five seconds at most. What it types meanwhile is seen later:
 * pv_xen_typed(). */
static void wait_for_room(void)
{
    enum { WAITS = 500, WAIT = 10000000 /* ns */, BITS = 64 };
    struct sched_poll poll = {.nr_ports = 1};

    set_xen_guest_handle(poll.ports, &port);
    for (unsigned i = 0; i < WAITS && full() && !stuck; i++) {
        notify();
        __atomic_and_fetch(&pv_xen_shared()->evtchn_pending[port / BITS], ~(1ul << port % BITS),
                           __ATOMIC_SEQ_CST);
        poll.timeout = x_now(NULL) + WAIT;
        if (full())
            hypercall3(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll, 0);
    }
    stuck = full();
}

static void put(char c)
{
    if (full())
        wait_for_room();
    if (stuck)
        return;
    ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = c;
    __atomic_store_n(&ring->out_prod, ring->out_prod + 1, __ATOMIC_RELEASE);
}

/* Lines end in CR LF there; the guest's do, ours do not. */
static void write_ring(const char *text, size_t length)
{
    static char last;

    stuck = stuck && full();
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n' && last != '\r')
            put('\r');
        put(last = text[i]);
    }
    notify();
}

void pv_xen_write(const char *text, size_t length)
{
    char out[256];
    size_t n = 0;

    if (ring) {
        write_ring(text, length);
        return;
    }
    /* Xen puts a carriage return before each line feed; the guest did so already. */
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')
            continue;
        out[n++] = text[i];
        if (n == sizeof out) {
            hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, n, out);
            n = 0;
        }
    }
    if (n)
        hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, n, out);
}

void x_console(void *context, const char *text, size_t length)
{
    (void)context;
    pv_guest.count.console_calls++;
    pv_xen_write(text, length);
}

static size_t read_ring(uint8_t *out, size_t size)
{
    size_t n = 0;

    for (; n < size && pv_xen_typed(); n++) {
        out[n] = (uint8_t)ring->in[MASK_XENCONS_IDX(ring->in_cons, ring->in)];
        __atomic_store_n(&ring->in_cons, ring->in_cons + 1, __ATOMIC_RELEASE);
    }
    if (n)
        notify();
    return n;
}

void pv_xen_poll_console(void)
{
    uint8_t b[64];
    long n;

    do {
        n = ring ? (long)read_ring(b, sizeof b)
                 : hypercall3(__HYPERVISOR_console_io, CONSOLEIO_read, sizeof b, b);
        if (n > 0)
            pv_console_input(&pv_guest, b, (size_t)n);
    } while (n > 0);
}
