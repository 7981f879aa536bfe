/* SPDX-License-Identifier: BSD-2-Clause */
#include "ia32/emit.h"

#define MODRM(mod, reg, rm) ((uint8_t)((mod) << 6 | ((reg)&7) << 3 | ((rm)&7)))
#define MOD_DISP8           1
#define MOD_DISP32          2
#define RM_SIB              4    /* with 32-bit addressing: a SIB byte follows */
#define RM_DISP32           5    /* with mod 0: no base, disp32 */
#define MODRM_KEEP          0xc7 /* mod and rm */

void pv_emit_byte(struct pv_code *code, uint8_t byte)
{
    if (code->length >= code->capacity) {
        code->overflow = 1;
        return;
    }
    code->bytes[code->length++] = byte;
}

void pv_emit_long(struct pv_code *code, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        pv_emit_byte(code, (uint8_t)(value >> 8 * i));
}

void pv_emit_bytes(struct pv_code *code, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        pv_emit_byte(code, bytes[i]);
}

void pv_emit_transfer(struct pv_code *code, uint8_t opcode, uint32_t here, uint32_t target)
{
    uint32_t next = here + code->length + PV_TRANSFER_SIZE;

    pv_emit_byte(code, opcode);
    pv_emit_long(code, target - next);
}

void pv_emit_push(struct pv_code *code, uint32_t value)
{
    if (value < 0x80) {
        pv_emit_byte(code, PV_OPCODE_PUSH_IMM8);
        pv_emit_byte(code, (uint8_t)value);
    } else {
        pv_emit_byte(code, PV_OPCODE_PUSH_IMM32);
        pv_emit_long(code, value);
    }
}

void pv_emit_absolute(struct pv_code *code, unsigned reg, uint32_t address)
{
    pv_emit_byte(code, MODRM(0, reg, RM_DISP32));
    pv_emit_long(code, address);
}

void pv_emit_address(struct pv_code *code, unsigned reg, const struct previrt_ia32_insn *insn,
                     uint32_t pushed)
{
    /* lea has no use for the segment; the descriptor names it. */
    if (insn->address16) {
        /* There is no 16-bit form with a base of SP (SDM 2A, table 2-1). */
        pv_emit_byte(code, PV_PREFIX_ADDRESS);
        pv_emit_byte(code, PV_OPCODE_LEA);
        pv_emit_byte(code, (insn->modrm & MODRM_KEEP) | (uint8_t)(reg << 3));
        for (unsigned i = 0; i < insn->displacement_size; i++)
            pv_emit_byte(code, (uint8_t)((uint32_t)insn->displacement >> 8 * i));
        return;
    }
    pv_emit_byte(code, PV_OPCODE_LEA);
    if (insn->base == PV_ESP) {
        pv_emit_byte(code, MODRM(MOD_DISP32, reg, RM_SIB));
        pv_emit_byte(code, insn->sib);
        pv_emit_long(code, (uint32_t)insn->displacement + pushed);
        return;
    }
    pv_emit_byte(code, (insn->modrm & MODRM_KEEP) | (uint8_t)(reg << 3));
    if ((insn->modrm & 7) == RM_SIB)
        pv_emit_byte(code, insn->sib);
    for (unsigned i = 0; i < insn->displacement_size; i++)
        pv_emit_byte(code, (uint8_t)((uint32_t)insn->displacement >> 8 * i));
}

void pv_fill_nops(uint8_t *bytes, uint32_t length, int single)
{
    /* SDM 2B NOP, table 4-12: recommended multi-byte sequences */
    static const uint8_t nops[9][9] = {
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
        {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    };

    while (length) {
        uint32_t n = single ? 1 : length > sizeof(nops[0]) ? sizeof(nops[0]) : length;

        for (uint32_t i = 0; i < n; i++)
            bytes[i] = nops[n - 1][i];
        bytes += n;
        length -= n;
    }
}

void pv_emit_template(struct pv_code *code, const uint8_t *layout, uint32_t page)
{
    uint8_t length = layout[0];
    const uint8_t *holes = layout + 1, *text = holes + PV_TEMPLATE_HOLES;
    uint32_t start = code->length;

    pv_emit_bytes(code, text, length);
    if (code->overflow)
        return;
    for (unsigned i = 0; i < PV_TEMPLATE_HOLES; i++) {
        uint8_t *hole = code->bytes + start + holes[i];
        uint32_t value = page;

        if (holes[i] == PV_NO_HOLE)
            continue;
        for (unsigned byte = 0; byte < 4; byte++)
            value += (uint32_t)hole[byte] << 8 * byte;
        for (unsigned byte = 0; byte < 4; byte++)
            hole[byte] = (uint8_t)(value >> 8 * byte);
    }
}

int pv_emit_done(const struct pv_code *code, struct previrt_stub_request *request)
{
    request->length = code->length;
    return code->overflow ? PREVIRT_E_STUBS : PREVIRT_OK;
}
