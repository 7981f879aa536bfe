/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259A interrupt controllers of a PC, the second cascaded to input 2 of the first,
 * with the edge/level control registers of the PIIX3.
 *
 * Sections cited are those of Intel's 8259A data sheet (231468-003); "PIIX3" is Intel's 82371SB
 * data sheet. A request is not stored: the request register is computed from the input levels, the
 * edge sense latches and the trigger mode, as the "priority cell" figure of the data sheet draws
 * it, so that a line that falls before it is acknowledged takes its request along and the
 * acknowledge yields the default IR7 ("Edge and level triggered modes").
 */
#include "internal.h"

#define MASTER_PORT 0x20
#define SLAVE_PORT  0xa0
#define ELCR_PORT   0x4d0 /* PIIX3, 2.5.4 */
#define CHIP_PORTS  2
#define ELCR_PORTS  2

enum { MASTER = 0, SLAVE = 1, CHIPS = 2, INPUTS = 8, CASCADE_INPUT = 2, SPURIOUS_INPUT = 7 };

/* A0 selects the register. */
enum { COMMAND_REGISTER = 0, DATA_REGISTER = 1 };

/* "Initialization command word 1" */
#define ICW1_IC4      0x01 /* ICW4 follows */
#define ICW1_SNGL     0x02 /* no cascade, no ICW3 */
#define ICW1_LTIM     0x08 /* all inputs level triggered */
#define ICW1_SELECT   0x10 /* 1: this is ICW1 */
#define ICW2_VECTOR   0xf8 /* T7 to T3 */
#define ICW3_SLAVE_ID 0x07
/* "Initialization command word 4" */
#define ICW4_AEOI 0x02 /* automatic end of interrupt */
#define ICW4_SFNM 0x10 /* special fully nested mode */

/* "Operation command words": D4 D3 select OCW2 (00) or OCW3 (01). */
#define OCW3_SELECT 0x08
#define OCW2_LEVEL  0x07
#define OCW2_EOI    0x20
#define OCW2_SL     0x40 /* the level is given */
#define OCW2_R      0x80 /* rotate */
#define OCW3_RIS    0x01 /* read the in-service register */
#define OCW3_RR     0x02 /* RIS is meant */
#define OCW3_POLL   0x04
#define OCW3_SMM    0x20
#define OCW3_ESMM   0x40 /* SMM is meant */

#define POLL_INTERRUPT 0x80 /* "Poll command": an interrupt was waiting */

/* ELCR: IRQ 0, 1, 2, 8 and 13 are always edge triggered (PIIX3, 2.5.4). */
#define ELCR_MASTER_WRITABLE 0xf8
#define ELCR_SLAVE_WRITABLE  0xde

/* Where PC firmware puts the vectors. */
#define FIRMWARE_MASTER_VECTOR 0x08
#define FIRMWARE_SLAVE_VECTOR  0x70

static uint8_t level_triggered(const struct previrt_8259a *chip)
{
    return chip->icw1 & ICW1_LTIM ? 0xff : chip->elcr;
}

/* The interrupt request register. */
static uint8_t requests(const struct previrt_8259a *chip)
{
    return chip->lines & (level_triggered(chip) | chip->edges);
}

/* The bit of (bits) that has the highest priority, or -1. */
static int highest(const struct previrt_8259a *chip, uint8_t bits)
{
    for (unsigned i = 1; i <= INPUTS; i++) {
        unsigned input = (chip->lowest + i) % INPUTS;

        if (bits & 1u << input)
            return (int)input;
    }
    return -1;
}

/* How far (input) is from the highest priority. */
static unsigned rank(const struct previrt_8259a *chip, int input)
{
    return ((unsigned)input + INPUTS - 1 - chip->lowest) % INPUTS;
}

/* The input that the chip would interrupt for now, or -1. */
static int winner(const struct previrt_8259a *chip)
{
    uint8_t nesting = chip->isr;
    int request = highest(chip, requests(chip) & (uint8_t)~chip->imr), served;

    if (request < 0 || chip->init)
        return -1;
    /* "Special mask mode": a masked level in service no longer inhibits others. */
    if (chip->special_mask)
        nesting &= (uint8_t)~chip->imr;
    /* "Special fully nested mode": the slave in service may interrupt again. */
    if ((chip->icw4 & ICW4_SFNM) && chip->number == MASTER)
        nesting &= (uint8_t) ~(chip->icw3 & 1u << request);
    served = highest(chip, nesting);
    if (served >= 0 && rank(chip, served) <= rank(chip, request))
        return -1;
    return request;
}

static void set_input(struct previrt_8259a *chip, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1u << input);

    if (level && !(chip->lines & bit))
        chip->edges |= bit;
    if (!level)
        chip->edges &= (uint8_t)~bit; /* the latch is armed again by the low level */
    chip->lines = (uint8_t)(level ? chip->lines | bit : chip->lines & ~bit);
}

/* Carry the slave's INT to the master, and the master's to the processor. */
static void update(struct previrt_pic *pic)
{
    bool output;

    set_input(&pic->chip[MASTER], CASCADE_INPUT, winner(&pic->chip[SLAVE]) >= 0);
    output = winner(&pic->chip[MASTER]) >= 0;
    if (output == pic->output)
        return;
    pic->output = output;
    if (pic->device.bus->host.interrupt)
        pic->device.bus->host.interrupt(pic->device.bus->host.context, output);
}

static void set_line(void *context, unsigned line, int level)
{
    struct previrt_pic *pic = context;

    if (line == CASCADE_INPUT) /* not brought out */
        return;
    set_input(&pic->chip[line / INPUTS], line % INPUTS, level != 0);
    update(pic);
}

/* "Interrupt sequence": take the request of highest priority into service. -1 if there is none. */
static int accept(struct previrt_pic *pic, struct previrt_8259a *chip)
{
    int input = winner(chip);
    uint8_t bit;

    if (input < 0)
        return -1;
    bit = (uint8_t)(1u << input);
    chip->edges &= (uint8_t)~bit;
    if (!(chip->icw4 & ICW4_AEOI))
        chip->isr |= bit;
    else if (chip->rotate_on_aeoi) /* "Automatic rotation" */
        chip->lowest = (uint8_t)input;
    /* The slave's INT falls with the acknowledge even when its next request waits: without the low
     * level the master would see no new edge. */
    if (chip->number == SLAVE)
        set_input(&pic->chip[MASTER], CASCADE_INPUT, false);
    return input;
}

bool previrt_pic_pending(const struct previrt_pic *pic)
{
    return pic->output;
}

bool previrt_pic_waits(const struct previrt_pic *pic, unsigned line)
{
    const struct previrt_8259a *chip = &pic->chip[line / INPUTS & 1];

    return line < PREVIRT_IRQ_LINES && (requests(chip) & 1u << line % INPUTS) != 0;
}

bool previrt_pic_masked(const struct previrt_pic *pic, unsigned line)
{
    const struct previrt_8259a *chip = &pic->chip[line / INPUTS & 1];

    return line >= PREVIRT_IRQ_LINES || (chip->imr & 1u << line % INPUTS) != 0;
}

uint8_t previrt_pic_acknowledge(struct previrt_pic *pic)
{
    struct previrt_8259a *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
    int input = accept(pic, master);
    uint8_t vector;

    if (input < 0)
        input = SPURIOUS_INPUT;
    vector = (uint8_t)(master->vector | input);
    /* "The cascade buffer/comparator": the slave whose number the master puts on the cascade lines
     * answers; on an input without a slave (ICW3) the master does. */
    if (input == CASCADE_INPUT && !(master->icw1 & ICW1_SNGL) &&
        (master->icw3 & 1u << CASCADE_INPUT)) {
        if (slave->icw3 == CASCADE_INPUT) {
            input = accept(pic, slave);
            if (input < 0)
                input = SPURIOUS_INPUT;
            vector = (uint8_t)(slave->vector | input);
        } else {
            vector = 0xff; /* nobody drives the data bus */
        }
    }
    update(pic);
    return vector;
}

/* --- Initialization --- */

/* "Initialization command words 1 and 2": what ICW1 does by itself, a to f. */
static void write_icw1(struct previrt_8259a *chip, uint8_t value)
{
    chip->icw1 = value;
    chip->edges = 0; /* a: an input must make a low-to-high transition */
    chip->imr = 0;   /* b */
    chip->isr = 0;
    chip->lowest = SPURIOUS_INPUT; /* c */
    chip->icw3 = SPURIOUS_INPUT;   /* d: slave address 7 */
    chip->special_mask = false;    /* e */
    chip->read_isr = false;
    chip->poll = false;
    if (!(value & ICW1_IC4)) /* f */
        chip->icw4 = 0;
    chip->rotate_on_aeoi = false;
    chip->init = 2;
}

/* ICW2 to ICW4, in the order of the "Initialization sequence" figure. */
static void write_icw(struct previrt_8259a *chip, uint8_t value)
{
    bool single = chip->icw1 & ICW1_SNGL, icw4_follows = chip->icw1 & ICW1_IC4;

    switch (chip->init) {
    case 2:
        chip->vector = value & ICW2_VECTOR;
        chip->init = !single ? 3 : icw4_follows ? 4 : 0;
        break;
    case 3:
        chip->icw3 = chip->number == SLAVE ? value & ICW3_SLAVE_ID : value;
        chip->init = icw4_follows ? 4 : 0;
        break;
    default:
        chip->icw4 = value;
        chip->init = 0;
        break;
    }
}

/* --- Operation --- */

/* "Operation control word 2": end of interrupt and priorities. */
static void write_ocw2(struct previrt_8259a *chip, uint8_t value)
{
    bool rotate = value & OCW2_R;
    int level = value & OCW2_LEVEL;

    if (!(value & OCW2_EOI)) {
        if (!(value & OCW2_SL))
            chip->rotate_on_aeoi = rotate; /* rotate in automatic EOI mode, set or clear */
        else if (rotate)
            chip->lowest = (uint8_t)level; /* set priority command */
        return;
    }
    if (!(value & OCW2_SL)) {
        /* Non-specific: the highest level in service; in special mask mode a masked one is not
         * cleared ("End of interrupt"). */
        uint8_t candidates = chip->isr;

        if (chip->special_mask)
            candidates &= (uint8_t)~chip->imr;
        level = highest(chip, candidates);
        if (level < 0)
            return;
    }
    chip->isr &= (uint8_t) ~(1u << level);
    if (rotate)
        chip->lowest = (uint8_t)level;
}

/* "Operation control word 3": what is read next, poll, special mask mode. */
static void write_ocw3(struct previrt_8259a *chip, uint8_t value)
{
    if (value & OCW3_POLL)
        chip->poll = true;
    else if (value & OCW3_RR) /* poll overrides a status read */
        chip->read_isr = value & OCW3_RIS;
    if (value & OCW3_ESMM)
        chip->special_mask = value & OCW3_SMM;
}

static void chip_write(struct previrt_pic *pic, struct previrt_8259a *chip, uint32_t offset,
                       uint8_t value)
{
    if (offset == DATA_REGISTER) {
        if (chip->init)
            write_icw(chip, value);
        else
            chip->imr = value; /* OCW1 */
    } else if (value & ICW1_SELECT) {
        write_icw1(chip, value);
    } else if (value & OCW3_SELECT) {
        write_ocw3(chip, value);
    } else {
        write_ocw2(chip, value);
    }
    update(pic);
}

static uint32_t chip_read(struct previrt_pic *pic, struct previrt_8259a *chip, uint32_t offset)
{
    if (chip->poll) { /* "Poll command": the read is the acknowledge, whatever A0 is */
        int input = accept(pic, chip);

        chip->poll = false;
        update(pic);
        return input < 0 ? SPURIOUS_INPUT : POLL_INTERRUPT | (uint32_t)input;
    }
    if (offset == DATA_REGISTER)
        return chip->imr;
    return chip->read_isr ? chip->isr : requests(chip);
}

static uint32_t master_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pic *pic = context;

    (void)width;
    return chip_read(pic, &pic->chip[MASTER], offset);
}

static void master_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pic *pic = context;

    (void)width;
    chip_write(pic, &pic->chip[MASTER], offset, (uint8_t)value);
}

static uint32_t slave_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pic *pic = context;

    (void)width;
    return chip_read(pic, &pic->chip[SLAVE], offset);
}

static void slave_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pic *pic = context;

    (void)width;
    chip_write(pic, &pic->chip[SLAVE], offset, (uint8_t)value);
}

/* One port for each chip. */
static uint32_t elcr_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pic *pic = context;

    (void)width;
    return pic->chip[offset].elcr;
}

static void elcr_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pic *pic = context;
    uint8_t writable = offset == MASTER ? ELCR_MASTER_WRITABLE : ELCR_SLAVE_WRITABLE;

    (void)width;
    pic->chip[offset].elcr = (uint8_t)(value & writable);
    update(pic);
}

static void pic_reset(struct previrt_device *device)
{
    struct previrt_pic *pic = PV_CONTAINER(device, struct previrt_pic, device);

    for (unsigned i = 0; i < CHIPS; i++) {
        struct previrt_8259a *chip = &pic->chip[i];

        *chip = (struct previrt_8259a){.lines = chip->lines, .number = (uint8_t)i};
        chip->imr = 0xff;
        chip->lowest = SPURIOUS_INPUT;
        chip->icw1 = ICW1_SELECT | ICW1_IC4;
    }
    pic->chip[MASTER].vector = FIRMWARE_MASTER_VECTOR;
    pic->chip[MASTER].icw3 = 1u << CASCADE_INPUT;
    pic->chip[SLAVE].vector = FIRMWARE_SLAVE_VECTOR;
    pic->chip[SLAVE].icw3 = CASCADE_INPUT;
    update(pic);
}

int previrt_pic_init(struct previrt_pic *pic, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {.name = "pic_8259a", .reset = pic_reset};
    static const struct previrt_range_ops master = {.read = master_read, .write = master_write};
    static const struct previrt_range_ops slave = {.read = slave_read, .write = slave_write};
    static const struct previrt_range_ops elcr = {.read = elcr_read, .write = elcr_write};
    struct previrt_range *ranges = pic->ranges;
    int status;

    *pic = (struct previrt_pic){.device.ops = &ops};
    pv_range(&ranges[0], PREVIRT_SPACE_PORT, MASTER_PORT, CHIP_PORTS, PREVIRT_WIDTH_8, &master,
             pic);
    pv_range(&ranges[1], PREVIRT_SPACE_PORT, SLAVE_PORT, CHIP_PORTS, PREVIRT_WIDTH_8, &slave, pic);
    pv_range(&ranges[2], PREVIRT_SPACE_PORT, ELCR_PORT, ELCR_PORTS, PREVIRT_WIDTH_8, &elcr, pic);
    status = previrt_bus_attach(bus, &pic->device, ranges, 3);
    if (status != PREVIRT_OK)
        return status;
    pic_reset(&pic->device);
    previrt_bus_set_irq_sink(bus, set_line, pic);
    return PREVIRT_OK;
}
