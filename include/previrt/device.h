/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device models: the devices of a PC that a kernel needs to boot, for any VMM.
 *
 * Nothing here knows a hypervisor or an instruction set, and nothing needs the rest of libprevirt.
 * The code is freestanding (no libc, no malloc, no globals); every object is a struct that the
 * caller owns, zeroed or not, initialized by its previrt_*_init() function and not moved
 * afterwards. The members of the structs marked "private" are only there so that the compiler knows
 * their size.
 *
 * Shape of a VMM:
 *
 *     previrt_bus_init(&bus, &host);              who is told of interrupts, resets, ends
 *     previrt_pic_init(&pic, &bus);               each device attaches itself to the bus
 *     previrt_uart_init(&uart, &bus, &config);
 *     ...
 *     on a guest's in/out:   value = previrt_port_in(&bus, port, width);
 *     on host.interrupt(1):  when the guest takes interrupts, vector =
 * previrt_pic_acknowledge(&pic) before going idle:     previrt_bus_flush(&bus), then set one timer
 * for previrt_bus_deadline(&bus) when it fires:         previrt_bus_run(&bus)
 *
 * previrt_pc_init() does all the first lines for a whole PC.
 *
 * Time. All times are nanoseconds (ns) on one clock of the caller's that never goes back. Either
 * the caller names the time with previrt_bus_set_time(), or it gives host.clock, which is then
 * called only when a device has to know the time.
 *
 * Threads: a bus and what is attached to it belong to one thread at a time. Callbacks run inside
 * the call that caused them; they may query the bus and its devices, and should note what happened
 * and return: they must not access ports or memory of the same bus.
 *
 * Errors: functions that can fail return PREVIRT_OK or a status of <previrt/status.h>. Accesses by
 * the guest never fail: what nothing answers reads as all ones, and writes to it are lost.
 *
 * Sources cited in devices/: Intel 8259A (order 231468-003), Intel 8254 (231164-005), Motorola
 * MC146818A (ADI1016), National PC16550D (TL/C/8652), IBM PS/2 Technical Reference (keyboard
 * controller), PCI Local Bus Specification 2.1, Intel 82441FX and 82371SB (PIIX3) data sheets.
 * docs/devices.md says for each device what it implements and what it leaves out.
 */
#ifndef PREVIRT_DEVICE_H
#define PREVIRT_DEVICE_H

#include <stdbool.h>

#include <previrt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------------
 * The bus
 */

/* No deadline: nothing will happen by itself. */
#define PREVIRT_NEVER UINT64_MAX

#define PREVIRT_BUS_RANGES  48 /* ranges of each space that a bus can hold */
#define PREVIRT_BUS_DEVICES 32
#define PREVIRT_IRQ_LINES   16 /* as many as the two 8259A have inputs; line 2 is their cascade */

/* The two address spaces of a bus. */
enum previrt_space { PREVIRT_SPACE_PORT = 0, PREVIRT_SPACE_MEMORY = 1 };

/* Widths of an access in bytes, and, or-ed, the widths that a range takes. */
enum previrt_width { PREVIRT_WIDTH_8 = 1, PREVIRT_WIDTH_16 = 2, PREVIRT_WIDTH_32 = 4 };

/* Who asked for a reset of the machine. */
enum previrt_reset_source {
    PREVIRT_RESET_KEYBOARD =
        1,                /* i8042: output port bit 0 pulsed or written low (0xfe to port 0x64) */
    PREVIRT_RESET_PORT92, /* system control port A, bit 0 */
    PREVIRT_RESET_CF9     /* PIIX3 reset control register, port 0xcf9 */
};

/*
 * What the VMM gives to a bus. Copied by previrt_bus_init(). Every callback may be NULL (then
 * nobody is told); (context) is handed to each.
 */
struct previrt_host {
    void *context;
    /* The time in ns. NULL: the time last given to previrt_bus_set_time(). */
    uint64_t (*clock)(void *context);
    /* The interrupt controller's INT output changed to (level), 0 or 1. */
    void (*interrupt)(void *context, int level);
    /* The guest asked for a reset of the machine. Nothing has been reset yet: the VMM decides, and
     * calls previrt_bus_reset() if it starts the guest again. */
    void (*reset)(void *context, enum previrt_reset_source source);
    /* The guest ended the machine through the debug-exit port with (code). */
    void (*exit)(void *context, uint32_t code);
    /* The A20 gate is now open (1) or closed (0). It starts open. */
    void (*a20)(void *context, int enabled);
    /* A power-on self-test code was written to port 0x80. Kernels also write there only to wait: a
     * VMM that does not show the codes leaves this NULL. */
    void (*post_code)(void *context, uint8_t code);
};

struct previrt_bus;
struct previrt_device;

/* What a range of ports or memory does when accessed. */
struct previrt_range_ops {
    /* Read (width) bytes (one of range.widths) at (offset) from the range's base; bits above the
     * width are ignored by the bus. NULL: reads all ones. */
    uint32_t (*read)(void *context, uint32_t offset, unsigned width);
    /* Write. Bits of (value) above the width are zero. NULL: writes are lost. */
    void (*write)(void *context, uint32_t offset, unsigned width, uint32_t value);
    /* Optional, for string instructions on one port: (count) elements of (width) bytes from or to
     * (buffer), little-endian, packed. NULL: the bus calls read or write for each element. */
    void (*read_string)(void *context, uint32_t offset, unsigned width, void *buffer, size_t count);
    void (*write_string)(void *context, uint32_t offset, unsigned width, const void *buffer,
                         size_t count);
};

/*
 * A range of one space, owned by the caller (usually a member of the device) and not changed while
 * it is on a bus. The bus splits an access of a width that is not in (widths), or that crosses the
 * range's end, into halves down to bytes, lowest address first, as the ISA bus does.
 */
struct previrt_range {
    uint64_t base;   /* first port, or first guest-physical address */
    uint64_t length; /* in bytes, not 0; a range of ports ends at 0x10000 at most, any is at most 4
                        GiB */
    const struct previrt_range_ops *ops;
    void *context; /* for the ops */
    uint8_t space; /* enum previrt_space */
    uint8_t widths;
};

/* What the bus asks of a device besides its ranges. Every one may be NULL. */
struct previrt_device_ops {
    const char *name;
    /* The reset line of the machine was pulsed. */
    void (*reset)(struct previrt_device *device);
    /* Do what has become due up to (now), interrupts included. Idempotent. */
    void (*run)(struct previrt_device *device, uint64_t now);
    /* When run has to be called next, if nobody accesses the device until then; may lie in the
     * past. */
    uint64_t (*deadline)(struct previrt_device *device);
    /* Hand on all output that is held back. */
    void (*flush)(struct previrt_device *device);
};

/* The part that all devices have, their first member. Private; a device of one's own fills in ops.
 */
struct previrt_device {
    const struct previrt_device_ops *ops;
    struct previrt_bus *bus;
};

/* The bus. Private. */
struct previrt_bus {
    struct previrt_host host;
    uint64_t now;
    uint64_t deadline;
    bool deadline_known;
    uint8_t range_count[2];
    uint8_t device_count;
    uint8_t a20_closed; /* one bit for each gate that does not open A20, or is absent */
    struct previrt_range *ranges[2][PREVIRT_BUS_RANGES]; /* sorted by base */
    const struct previrt_range *last_hit[2];
    struct previrt_device *devices[PREVIRT_BUS_DEVICES];
    void (*irq_set)(void *context, unsigned line, int level);
    void *irq_context;
    uint8_t irq_asserted[PREVIRT_IRQ_LINES]; /* how many sources hold the line high */
};

/* A source of one interrupt line. Private; initialize by previrt_irq_connect(). */
struct previrt_irq {
    struct previrt_bus *bus;
    uint8_t line;
    bool level;
};

/* Make (bus) an empty bus at time 0. (host) is copied; NULL is a host without callbacks. */
PREVIRT_API void previrt_bus_init(struct previrt_bus *bus, const struct previrt_host *host);

/*
 * Attach (device), whose ops are set, with the (count) ranges at (ranges). All or nothing. Both
 * must outlive the bus. PREVIRT_E_OVERLAP: a range overlaps one that is there, or another of these.
 * PREVIRT_E_SPACE: the bus is full. PREVIRT_E_INVALID: a range is empty, too long, of no space or
 * of no width.
 */
PREVIRT_API int previrt_bus_attach(struct previrt_bus *bus, struct previrt_device *device,
                                   struct previrt_range *ranges, size_t count);

/* Add one range, for devices whose ranges move. Errors as above. */
PREVIRT_API int previrt_bus_add_range(struct previrt_bus *bus, struct previrt_range *range);

/* Take a range off the bus. PREVIRT_E_RANGE: it is not there. */
PREVIRT_API int previrt_bus_remove_range(struct previrt_bus *bus, struct previrt_range *range);

/*
 * The guest's accesses. (width) is 1, 2 or 4; anything else reads all ones and writes nothing. The
 * result has zeros above the width. A port access that runs beyond port 0xffff reads ones there.
 */
PREVIRT_API uint32_t previrt_port_in(struct previrt_bus *bus, uint16_t port, unsigned width);
PREVIRT_API void previrt_port_out(struct previrt_bus *bus, uint16_t port, unsigned width,
                                  uint32_t value);
PREVIRT_API uint32_t previrt_memory_read(struct previrt_bus *bus, uint64_t address, unsigned width);
PREVIRT_API void previrt_memory_write(struct previrt_bus *bus, uint64_t address, unsigned width,
                                      uint32_t value);

/*
 * rep ins and rep outs: (count) elements of (width) bytes, little-endian and packed, between one
 * port and (buffer), which holds count * width bytes. The caller copies between (buffer) and the
 * guest's memory, in the guest's direction.
 */
PREVIRT_API void previrt_port_in_string(struct previrt_bus *bus, uint16_t port, unsigned width,
                                        void *buffer, size_t count);
PREVIRT_API void previrt_port_out_string(struct previrt_bus *bus, uint16_t port, unsigned width,
                                         const void *buffer, size_t count);

/* Whether an access to (address) would reach a device: what a VMM asks before it emulates a page
 * fault. */
PREVIRT_API bool previrt_bus_claims(const struct previrt_bus *bus, enum previrt_space space,
                                    uint64_t address);

/* It is (now): without host.clock, what the devices take for the time until the next call. An
 * earlier time than the last is ignored. Runs nothing. */
PREVIRT_API void previrt_bus_set_time(struct previrt_bus *bus, uint64_t now);

/* The time as the devices see it. */
PREVIRT_API uint64_t previrt_bus_time(struct previrt_bus *bus);

/*
 * The earliest time at which previrt_bus_run() has to be called, PREVIRT_NEVER if there is none.
 * Accesses can change it; it is cached, so a VMM may ask after each. It may lie in the past. A
 * guest can program deadlines less than a microsecond apart: a VMM that sets a real timer rounds up
 * to what it can afford, and devices that are run late catch up as the hardware would (edges that
 * nobody took are merged).
 */
PREVIRT_API uint64_t previrt_bus_deadline(struct previrt_bus *bus);

/* Do all that is due at the present time. */
PREVIRT_API void previrt_bus_run(struct previrt_bus *bus);

/* The flush point: hand on all batched output (uart_16550). To be called before the guest goes
 * idle, before the VMM blocks and before it ends. */
PREVIRT_API void previrt_bus_flush(struct previrt_bus *bus);

/* Pulse the reset line of every device. Batched output is flushed first. */
PREVIRT_API void previrt_bus_reset(struct previrt_bus *bus);

/* Interrupt lines. A line is the wired OR of its sources. */

/* (set) is to be told when a line changes: an interrupt controller calls this once. */
PREVIRT_API void previrt_bus_set_irq_sink(struct previrt_bus *bus,
                                          void (*set)(void *context, unsigned line, int level),
                                          void *context);
/* Make (irq) a source of (line), low. PREVIRT_E_INVALID: there is no such line. */
PREVIRT_API int previrt_irq_connect(struct previrt_irq *irq, struct previrt_bus *bus,
                                    unsigned line);
/* Drive the source to (level). */
PREVIRT_API void previrt_irq_set(struct previrt_irq *irq, int level);

/* For devices of one's own: the device's deadline may have changed. */
PREVIRT_API void previrt_bus_deadline_changed(struct previrt_bus *bus);

/* --------------------------------------------------------------------------------------------------
 * pic_8259a: the pair of interrupt controllers. Ports 0x20-0x21, 0xa0-0xa1, 0x4d0-0x4d1 (ELCR).
 */

/* One 8259A. Private. */
struct previrt_8259a {
    uint8_t lines; /* levels of the IR inputs */
    uint8_t edges; /* edge sense latches */
    uint8_t imr, isr;
    uint8_t elcr;   /* edge/level control: 1 is level */
    uint8_t vector; /* ICW2, bits 7:3 */
    uint8_t icw1, icw3, icw4;
    uint8_t lowest; /* the input of lowest priority */
    uint8_t init;   /* the ICW that is expected next, 0 if none */
    uint8_t number; /* 0 is the master */
    bool rotate_on_aeoi, special_mask, poll, read_isr;
};

struct previrt_pic {
    struct previrt_device device;
    struct previrt_range ranges[3];
    struct previrt_8259a chip[2];
    bool output;
};

/* Attach the pair, and make it the sink of the bus's interrupt lines. It starts as the firmware of
 * a PC leaves it: vectors 0x08 and 0x70, slave on IR2, everything masked. */
PREVIRT_API int previrt_pic_init(struct previrt_pic *pic, struct previrt_bus *bus);

/* The level of the master's INT output; host.interrupt tells of its changes. */
PREVIRT_API bool previrt_pic_pending(const struct previrt_pic *pic);

/* Whether input (line), 0 to 15, has a request, masked or not, that was not acknowledged yet; and
 * whether it is masked. A VMM that was away for several periods of the timer asks before it raises
 * the next tick. */
PREVIRT_API bool previrt_pic_waits(const struct previrt_pic *pic, unsigned line);
PREVIRT_API bool previrt_pic_masked(const struct previrt_pic *pic, unsigned line);

/* The processor's interrupt acknowledge cycle: the vector to deliver. If the request has gone away
 * it is the spurious vector (input 7 of the chip), as on the hardware. */
PREVIRT_API uint8_t previrt_pic_acknowledge(struct previrt_pic *pic);

/* --------------------------------------------------------------------------------------------------
 * pit_8254: the interval timer. Ports 0x40-0x43. Counter 0 drives IRQ 0.
 */

#define PREVIRT_PIT_HZ 1193182

/* One counter. Private. Times are ticks of the 1.193182 MHz clock since time 0. */
struct previrt_8254_counter {
    uint64_t start;    /* the tick at which the counting element held (initial) */
    uint64_t boundary; /* the tick at which (reload) takes effect, if (reload_pending) */
    uint32_t initial;
    uint32_t reload; /* the count register, 1 to 65536 (or 10000) */
    uint32_t period; /* modes 2 and 3: the count that is being counted */
    uint16_t held;   /* the counting element while it does not count */
    uint16_t latch;
    uint8_t control; /* bits 5:0 of the control word */
    uint8_t mode;    /* 0 to 5 */
    uint8_t status;
    uint8_t low_byte;
    uint8_t latched; /* bytes of the latch still to read */
    bool gate, counting, expired, armed, reload_pending, was_low;
    bool status_latched, write_high, read_high;
};

struct previrt_pit {
    struct previrt_device device;
    struct previrt_range range;
    struct previrt_irq irq;
    struct previrt_8254_counter counter[3];
    uint64_t tick; /* up to which interrupts have been delivered */
};

/* Attach the timer. No counter counts until the guest programs it. */
PREVIRT_API int previrt_pit_init(struct previrt_pit *pit, struct previrt_bus *bus);

/* Drive the gate of (counter), 0 to 2. The gates of 0 and 1 are tied high on a PC; port61 drives
 * 2's. */
PREVIRT_API void previrt_pit_set_gate(struct previrt_pit *pit, unsigned counter, int level);

/* The level of the output of (counter) now. */
PREVIRT_API int previrt_pit_output(struct previrt_pit *pit, unsigned counter);

/* --------------------------------------------------------------------------------------------------
 * rtc_mc146818: clock and CMOS memory. Ports 0x70-0x71, IRQ 8.
 */

#define PREVIRT_CMOS_SIZE 128

struct previrt_rtc_config {
    uint64_t unix_time;   /* the date and time at the bus's present time, seconds since 1970, UTC */
    uint64_t memory_size; /* of the guest in bytes, for the memory-size bytes */
};

struct previrt_rtc {
    struct previrt_device device;
    struct previrt_range range;
    struct previrt_irq irq;
    uint64_t chain_start;   /* ns: when the divider chain last began a second */
    uint64_t seconds_done;  /* seconds of the chain that have been handled */
    uint64_t periodic_done; /* periods of the chain that have been handled */
    uint8_t index;
    bool nmi_masked;
    uint8_t cmos[PREVIRT_CMOS_SIZE]; /* time, alarm, registers A to D, memory */
};

/* Attach the clock, running, in BCD and 24-hour mode as PC firmware sets it, with the CMOS bytes
 * that firmware and kernels exchange (see docs/devices.md) and their checksum. */
PREVIRT_API int previrt_rtc_init(struct previrt_rtc *rtc, struct previrt_bus *bus,
                                 const struct previrt_rtc_config *config);

/* The date and time that the clock shows now, as the guest may have set it: seconds since 1970. */
PREVIRT_API uint64_t previrt_rtc_unix_time(struct previrt_rtc *rtc);

/* Whether the guest masked the NMI (bit 7 of port 0x70). */
PREVIRT_API bool previrt_rtc_nmi_masked(const struct previrt_rtc *rtc);

/* CMOS memory, for the firmware's side. (index) 0x0e to 0x7f; others read as 0xff and are not
 * written. A write to 0x10-0x2d keeps the checksum right. */
PREVIRT_API uint8_t previrt_rtc_cmos_read(const struct previrt_rtc *rtc, unsigned index);
PREVIRT_API void previrt_rtc_cmos_write(struct previrt_rtc *rtc, unsigned index, uint8_t value);

/* --------------------------------------------------------------------------------------------------
 * uart_16550: a serial line.
 */

#define PREVIRT_UART_FIFO  16
#define PREVIRT_UART_BATCH 256

#define PREVIRT_COM1_PORT 0x3f8
#define PREVIRT_COM1_IRQ  4
#define PREVIRT_COM2_PORT 0x2f8
#define PREVIRT_COM2_IRQ  3

/* Errors that a received character can carry: bits of the line status register. */
enum previrt_uart_error {
    PREVIRT_UART_PARITY = 0x04,
    PREVIRT_UART_FRAMING = 0x08,
    PREVIRT_UART_BREAK = 0x10
};

/* Modem lines: bits of the modem status register. */
enum previrt_uart_modem {
    PREVIRT_UART_CTS = 0x10,
    PREVIRT_UART_DSR = 0x20,
    PREVIRT_UART_RI = 0x40,
    PREVIRT_UART_DCD = 0x80
};

struct previrt_uart_config {
    uint16_t port; /* first of eight */
    uint8_t irq;
    /* How long output may be held back, in ns; then previrt_bus_deadline() asks for a run. 0: until
     * the batch is full or previrt_bus_flush(). */
    uint64_t flush_delay;
    void *context;
    /* (length) bytes were sent; (data) is valid during the call only. May be NULL. */
    void (*transmit)(void *context, const uint8_t *data, size_t length);
    /* The guest has read characters: there is room for more input. May be NULL. */
    void (*receive_room)(void *context);
};

struct previrt_uart {
    struct previrt_device device;
    struct previrt_range range;
    struct previrt_irq irq;
    struct previrt_uart_config config;
    uint64_t timeout_at; /* ns: character timeout, PREVIRT_NEVER if none runs */
    uint64_t flush_at;   /* ns: when the batch has to go, PREVIRT_NEVER if empty */
    uint8_t ier, lcr, mcr, scr, fcr;
    uint8_t dll, dlm;
    uint8_t errors;      /* LSR bits 4:1 */
    uint8_t msr_delta;   /* MSR bits 3:0 */
    uint8_t modem;       /* the modem lines outside */
    bool thre_interrupt; /* the transmitter-empty interrupt is pending */
    bool timeout;        /* the character timeout is pending */
    uint8_t rx_first, rx_count;
    uint8_t rx_data[PREVIRT_UART_FIFO];
    uint8_t rx_error[PREVIRT_UART_FIFO];
    uint16_t batch_length;
    uint8_t batch[PREVIRT_UART_BATCH];
};

/* Attach a UART. (config) is copied. A terminal is connected: CTS, DSR and DCD are high. */
PREVIRT_API int previrt_uart_init(struct previrt_uart *uart, struct previrt_bus *bus,
                                  const struct previrt_uart_config *config);

/* Characters come in. Takes as many of the (length) at (data) as there is room for, and says how
 * many: a caller keeps the rest until config.receive_room. None are taken in loopback mode. */
PREVIRT_API size_t previrt_uart_receive(struct previrt_uart *uart, const uint8_t *data,
                                        size_t length);

/* One character comes in, with (errors), whether there is room or not: an overrun loses characters,
 * as on the line. */
PREVIRT_API void previrt_uart_receive_raw(struct previrt_uart *uart, uint8_t character,
                                          uint8_t errors);

/* The modem lines (enum previrt_uart_modem, or-ed) that the other side now holds high. */
PREVIRT_API void previrt_uart_set_modem(struct previrt_uart *uart, uint8_t lines);

/* --------------------------------------------------------------------------------------------------
 * i8042: the keyboard controller without a keyboard or mouse. Ports 0x60 and 0x64, IRQ 1.
 */

struct previrt_i8042 {
    struct previrt_device device;
    struct previrt_range ranges[2];
    struct previrt_irq irq;
    uint8_t status;
    uint8_t output;      /* the output buffer */
    uint8_t output_port; /* port P2 */
    uint8_t pending;     /* the command whose data byte is awaited, 0 if none */
    uint8_t ram[32];     /* byte 0 is the command byte */
};

PREVIRT_API int previrt_i8042_init(struct previrt_i8042 *kbc, struct previrt_bus *bus);

/* --------------------------------------------------------------------------------------------------
 * pci: configuration mechanism 1 (ports 0xcf8, 0xcfc-0xcff), a host bridge 8086:1237 at 00:00.0,
 * the reset control register (0xcf9), and functions that the VMM adds. Bus 0 only.
 */

#define PREVIRT_PCI_FUNCTIONS   16
#define PREVIRT_PCI_CONFIG_SIZE 256
#define PREVIRT_PCI_BARS        6

struct previrt_pci_function;

struct previrt_pci_function_ops {
    /* After the guest wrote (width) bytes at (offset) of the configuration space, the bytes are
     * already there. May be NULL. */
    void (*config_written)(struct previrt_pci_function *function, unsigned offset, unsigned width);
};

/*
 * A function on bus 0, owned by the caller. Before previrt_pci_add() the caller zeroes it, fills
 * config (little-endian, header type 0) and writable (a 1 for each bit that the guest may write),
 * and for each base address register its range: bar[i].length is a power of two, at least 4 for
 * ports and 16 for memory, with space, widths, ops and context set, length 0 for none.
 * previrt_pci_add() derives the bits of the registers themselves; the command register's memory and
 * I/O enables, and the base addresses that the guest writes, then put the ranges on the bus. A
 * range that would overlap another stays off.
 */
struct previrt_pci_function {
    const struct previrt_pci_function_ops *ops;
    void *context;
    uint8_t devfn; /* device << 3 | function */
    uint8_t config[PREVIRT_PCI_CONFIG_SIZE];
    uint8_t writable[PREVIRT_PCI_CONFIG_SIZE];
    uint8_t write_1_to_clear[PREVIRT_PCI_CONFIG_SIZE];
    struct previrt_range bar[PREVIRT_PCI_BARS];
    uint8_t mapped; /* private: which BARs are on the bus */
};

struct previrt_pci {
    struct previrt_device device;
    struct previrt_range ranges[2];
    uint32_t address; /* CONFADD */
    uint8_t reset_control;
    uint8_t function_count;
    struct previrt_pci_function *functions[PREVIRT_PCI_FUNCTIONS];
    struct previrt_pci_function host_bridge;
};

PREVIRT_API int previrt_pci_init(struct previrt_pci *pci, struct previrt_bus *bus);

/* Add (function). PREVIRT_E_OVERLAP: its devfn is taken. PREVIRT_E_SPACE: too many.
 * PREVIRT_E_INVALID: a BAR's length, space or widths are wrong. */
PREVIRT_API int previrt_pci_add(struct previrt_pci *pci, struct previrt_pci_function *function);

/* --------------------------------------------------------------------------------------------------
 * Small ones
 */

/* port61: system control port B: gate and output of PIT counter 2, speaker, refresh toggle. */
struct previrt_port61 {
    struct previrt_device device;
    struct previrt_range range;
    struct previrt_pit *pit;
    uint8_t control;
};
PREVIRT_API int previrt_port61_init(struct previrt_port61 *port61, struct previrt_bus *bus,
                                    struct previrt_pit *pit);

/* port92: system control port A: fast A20 and fast reset. */
struct previrt_port92 {
    struct previrt_device device;
    struct previrt_range range;
    uint8_t value;
};
PREVIRT_API int previrt_port92_init(struct previrt_port92 *port92, struct previrt_bus *bus);

/* port80: power-on self-test codes; the last one reads back. */
struct previrt_port80 {
    struct previrt_device device;
    struct previrt_range range;
    uint8_t code;
};
PREVIRT_API int previrt_port80_init(struct previrt_port80 *port80, struct previrt_bus *bus);

/* debug_exit: a write of any width to the port is host.exit with the value. */
#define PREVIRT_DEBUG_EXIT_PORT 0xf4
struct previrt_debug_exit {
    struct previrt_device device;
    struct previrt_range range;
};
PREVIRT_API int previrt_debug_exit_init(struct previrt_debug_exit *debug_exit,
                                        struct previrt_bus *bus, uint16_t port);

/* --------------------------------------------------------------------------------------------------
 * pc: all of the above as one machine
 */

struct previrt_pc_config {
    struct previrt_host host;
    struct previrt_rtc_config rtc;
    struct previrt_uart_config com1; /* port and irq 0: COM1's */
    uint16_t debug_exit_port;        /* 0: none */
};

struct previrt_pc {
    struct previrt_bus bus;
    struct previrt_pic pic;
    struct previrt_pit pit;
    struct previrt_rtc rtc;
    struct previrt_uart com1;
    struct previrt_i8042 kbc;
    struct previrt_pci pci;
    struct previrt_port61 port61;
    struct previrt_port92 port92;
    struct previrt_port80 port80;
    struct previrt_debug_exit debug_exit;
};

/* A PC on a fresh bus at pc->bus. (config) is copied. Fails only if com1 or debug_exit_port lie on
 * ports of another device. */
PREVIRT_API int previrt_pc_init(struct previrt_pc *pc, const struct previrt_pc_config *config);

#ifdef __cplusplus
}
#endif

#endif
