/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller of a PC with nothing plugged in: what kernels probe, and what they reboot
 * with.
 *
 * The commands are those of the IBM PS/2 Technical Reference, "Keyboard and auxiliary device
 * controller", for a controller without an auxiliary port (an AT's): commands to that port do what
 * an AT's do, so that drivers find out at once instead of running into their time-outs.
 */
#include "internal.h"

#define DATA_PORT    0x60
#define COMMAND_PORT 0x64
#define KEYBOARD_IRQ 1

/* "Status register" */
#define STATUS_OBF     0x01 /* output buffer full: there is something to read */
#define STATUS_SYSTEM  0x04 /* self test passed; follows the command byte's bit */
#define STATUS_COMMAND 0x08 /* the last write was a command */
#define STATUS_KEYLOCK 0x10 /* 1: the keyboard is not locked */
#define STATUS_TIMEOUT 0x40 /* the device did not answer */

/* "Command byte" */
#define MODE_IRQ_KEYBOARD 0x01
#define MODE_SYSTEM       0x04
#define MODE_KEYBOARD_OFF 0x10
#define MODE_AUX_OFF      0x20
#define MODE_TRANSLATE    0x40

/* "Controller commands" */
enum {
    READ_RAM = 0x20,  /* to 0x3f */
    WRITE_RAM = 0x60, /* to 0x7f */
    TEST_PASSWORD = 0xa4,
    AUX_DISABLE = 0xa7,
    AUX_ENABLE = 0xa8,
    AUX_TEST = 0xa9,
    SELF_TEST = 0xaa,
    KEYBOARD_TEST = 0xab,
    KEYBOARD_DISABLE = 0xad,
    KEYBOARD_ENABLE = 0xae,
    READ_INPUT_PORT = 0xc0,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    WRITE_KEYBOARD_BUFFER = 0xd2,
    WRITE_AUX_BUFFER = 0xd3,
    WRITE_AUX = 0xd4,
    A20_OFF = 0xdd, /* these two are not IBM's, but every chipset has them */
    A20_ON = 0xdf,
    READ_TEST_INPUTS = 0xe0,
    PULSE_OUTPUT = 0xf0 /* to 0xff: the zeros in bits 3:0 are pulsed low */
};
#define RAM_INDEX_MASK    0x1f
#define PULSE_MASK        0x0f
#define PULSE_KEEPS_RESET 0x01

#define SELF_TEST_PASSED    0x55
#define NO_PASSWORD         0xf1
#define INTERFACE_OK        0x00
#define INTERFACE_CLOCK_LOW 0x01 /* of the auxiliary port: nothing holds the line up */
#define INPUT_PORT_UNLOCKED 0x80
#define NO_RESPONSE         0xfe

/* "Output port" P2 */
#define P2_NOT_RESET 0x01
#define P2_A20       0x02
#define P2_OBF       0x10
#define P2_IDLE      0xcc /* the lines of the keyboard, high */

static void update_irq(struct previrt_i8042 *kbc)
{
    previrt_irq_set(&kbc->irq, (kbc->status & STATUS_OBF) && (kbc->ram[0] & MODE_IRQ_KEYBOARD));
}

/* Put (value) in the output buffer. There is one: an answer that nobody read is overwritten. */
static void answer(struct previrt_i8042 *kbc, uint8_t value)
{
    kbc->output = value;
    kbc->status |= STATUS_OBF;
    kbc->status &= (uint8_t)~STATUS_TIMEOUT;
}

/* A byte for a device that is not there: the controller gives up, and says so. */
static void send_to_nobody(struct previrt_i8042 *kbc)
{
    answer(kbc, NO_RESPONSE);
    kbc->status |= STATUS_TIMEOUT;
}

static void write_ram(struct previrt_i8042 *kbc, unsigned index, uint8_t value)
{
    kbc->ram[index] = value;
    if (index != 0)
        return;
    kbc->status =
        (uint8_t)(value & MODE_SYSTEM ? kbc->status | STATUS_SYSTEM : kbc->status & ~STATUS_SYSTEM);
}

static void write_output_port(struct previrt_i8042 *kbc, uint8_t value)
{
    kbc->output_port = value;
    pv_set_a20(kbc->device.bus, PV_A20_KEYBOARD, value & P2_A20);
    if (!(value & P2_NOT_RESET)) {
        kbc->output_port |= P2_NOT_RESET;
        pv_request_reset(kbc->device.bus, PREVIRT_RESET_KEYBOARD);
    }
}

static void set_mode(struct previrt_i8042 *kbc, uint8_t bit, bool set)
{
    kbc->ram[0] = (uint8_t)(set ? kbc->ram[0] | bit : kbc->ram[0] & ~bit);
}

static void run_command(struct previrt_i8042 *kbc, uint8_t command)
{
    kbc->pending = 0;
    if (command >= PULSE_OUTPUT) {
        /* Only the reset line of the four is connected to anything worth pulsing. */
        if (!(command & PULSE_KEEPS_RESET))
            pv_request_reset(kbc->device.bus, PREVIRT_RESET_KEYBOARD);
        return;
    }
    if ((command & ~RAM_INDEX_MASK) == READ_RAM) {
        answer(kbc, kbc->ram[command & RAM_INDEX_MASK]);
        return;
    }
    if ((command & ~RAM_INDEX_MASK) == WRITE_RAM) {
        kbc->pending = command;
        return;
    }
    switch (command) {
    case TEST_PASSWORD:
        answer(kbc, NO_PASSWORD);
        break;
    case AUX_DISABLE:
        set_mode(kbc, MODE_AUX_OFF, true);
        break;
    case AUX_ENABLE: /* without the port it stays off: drivers probe for this */
        break;
    case AUX_TEST:
        answer(kbc, INTERFACE_CLOCK_LOW);
        break;
    case SELF_TEST:
        write_ram(kbc, 0, kbc->ram[0] | MODE_SYSTEM);
        answer(kbc, SELF_TEST_PASSED);
        break;
    case KEYBOARD_TEST:
        answer(kbc, INTERFACE_OK);
        break;
    case KEYBOARD_DISABLE:
        set_mode(kbc, MODE_KEYBOARD_OFF, true);
        break;
    case KEYBOARD_ENABLE:
        set_mode(kbc, MODE_KEYBOARD_OFF, false);
        break;
    case READ_INPUT_PORT:
        answer(kbc, INPUT_PORT_UNLOCKED);
        break;
    case READ_OUTPUT_PORT:
        answer(kbc, (uint8_t)(kbc->output_port | (kbc->status & STATUS_OBF ? P2_OBF : 0)));
        break;
    case A20_OFF:
        write_output_port(kbc, kbc->output_port & (uint8_t)~P2_A20);
        break;
    case A20_ON:
        write_output_port(kbc, kbc->output_port | P2_A20);
        break;
    case READ_TEST_INPUTS:
        answer(kbc, 0);
        break;
    case WRITE_OUTPUT_PORT:
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_AUX_BUFFER:
    case WRITE_AUX:
        kbc->pending = command;
        break;
    default: /* unknown: no answer, as on the chip */
        break;
    }
}

static void write_data(struct previrt_i8042 *kbc, uint8_t value)
{
    uint8_t command = kbc->pending;

    kbc->pending = 0;
    switch (command) {
    case 0: /* to the keyboard, whose interface it enables */
        set_mode(kbc, MODE_KEYBOARD_OFF, false);
        send_to_nobody(kbc);
        break;
    case WRITE_OUTPUT_PORT:
        write_output_port(kbc, value);
        break;
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_AUX_BUFFER: /* the same to a controller without the port: not marked as AUX data */
        answer(kbc, value);
        break;
    case WRITE_AUX:
        send_to_nobody(kbc);
        break;
    default: /* WRITE_RAM */
        write_ram(kbc, command & RAM_INDEX_MASK,
                  command == WRITE_RAM ? value | MODE_AUX_OFF : value);
        break;
    }
}

static uint32_t data_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_i8042 *kbc = context;

    (void)offset;
    (void)width;
    kbc->status &= (uint8_t) ~(STATUS_OBF | STATUS_TIMEOUT);
    update_irq(kbc);
    return kbc->output;
}

static void data_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_i8042 *kbc = context;

    (void)offset;
    (void)width;
    kbc->status &= (uint8_t)~STATUS_COMMAND;
    write_data(kbc, (uint8_t)value);
    update_irq(kbc);
}

static uint32_t status_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_i8042 *kbc = context;

    (void)offset;
    (void)width;
    return kbc->status;
}

static void command_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_i8042 *kbc = context;

    (void)offset;
    (void)width;
    kbc->status |= STATUS_COMMAND;
    run_command(kbc, (uint8_t)value);
    update_irq(kbc);
}

/* As firmware leaves it: self test passed, translating, both ports off, A20 open. */
static void i8042_reset(struct previrt_device *device)
{
    struct previrt_i8042 *kbc = PV_CONTAINER(device, struct previrt_i8042, device);

    for (unsigned i = 0; i < sizeof(kbc->ram); i++)
        kbc->ram[i] = 0;
    kbc->ram[0] = MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_AUX_OFF | MODE_TRANSLATE;
    kbc->status = STATUS_SYSTEM | STATUS_KEYLOCK;
    kbc->pending = 0;
    kbc->output = 0;
    kbc->output_port = P2_IDLE | P2_A20 | P2_NOT_RESET;
    pv_set_a20(device->bus, PV_A20_KEYBOARD, true);
    update_irq(kbc);
}

int previrt_i8042_init(struct previrt_i8042 *kbc, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {.name = "i8042", .reset = i8042_reset};
    static const struct previrt_range_ops data = {.read = data_read, .write = data_write};
    static const struct previrt_range_ops command = {.read = status_read, .write = command_write};
    int status;

    *kbc = (struct previrt_i8042){.device.ops = &ops};
    pv_range(&kbc->ranges[0], PREVIRT_SPACE_PORT, DATA_PORT, 1, PREVIRT_WIDTH_8, &data, kbc);
    pv_range(&kbc->ranges[1], PREVIRT_SPACE_PORT, COMMAND_PORT, 1, PREVIRT_WIDTH_8, &command, kbc);
    status = previrt_bus_attach(bus, &kbc->device, kbc->ranges, 2);
    if (status != PREVIRT_OK)
        return status;
    previrt_irq_connect(&kbc->irq, bus, KEYBOARD_IRQ);
    bus->a20_closed &= (uint8_t)~PV_A20_KEYBOARD; /* it starts open: nothing to tell */
    i8042_reset(&kbc->device);
    return PREVIRT_OK;
}
