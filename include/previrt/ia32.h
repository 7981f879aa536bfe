/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IA32: the catalogue of sensitive operations, the site decoder and the classifier.
 *
 * The catalogue and previrt_ia32_decode_site() are freestanding (no libc, no malloc). The
 * classifier is for hosts; it decodes the whole instruction set.
 */
#ifndef PREVIRT_IA32_H
#define PREVIRT_IA32_H

#include <previrt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Operation numbers: PREVIRT_IA32_CLI, ... 0 is no operation. */
enum previrt_ia32_op {
    PREVIRT_IA32_NO_OP = 0,
#define PREVIRT_IA32_OP(number, ID, name, MNEMONIC, trap, policy, room, feature, reads, writes,    \
                        source)                                                                    \
    PREVIRT_IA32_##ID = number,
#include <previrt/ia32_ops.def>
    PREVIRT_IA32_OP_LIMIT = 104 /* one more than the largest number */
};

/* Form numbers: one encoding of an operation each: PREVIRT_IA32_FORM_IN8_DX, ... 0 is no form. */
enum previrt_ia32_form {
    PREVIRT_IA32_NO_FORM = 0,
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    PREVIRT_IA32_FORM_##ID = number,
#include <previrt/ia32_ops.def>
    PREVIRT_IA32_FORM_LIMIT = 121
};

enum previrt_trap {
    PREVIRT_TRAP_PRIVILEGED = 1,
    PREVIRT_TRAP_IOPL,
    PREVIRT_TRAP_CONTROL,
    PREVIRT_TRAP_NONE,
    PREVIRT_TRAP_GATE,
    PREVIRT_TRAP_VMX,
    PREVIRT_TRAP_SVM
};

enum previrt_policy { PREVIRT_POLICY_REWRITE = 1, PREVIRT_POLICY_NATIVE, PREVIRT_POLICY_MASK };

/* Machine state that an operation reads or writes. */
enum previrt_state {
    PREVIRT_STATE_IF = 1 << 0,    /* EFLAGS.IF */
    PREVIRT_STATE_IOPL = 1 << 1,  /* EFLAGS.IOPL */
    PREVIRT_STATE_FLAGS = 1 << 2, /* the other flags */
    PREVIRT_STATE_CPL = 1 << 3,   /* the current privilege level */
    PREVIRT_STATE_SEG = 1 << 4,   /* segment registers */
    PREVIRT_STATE_GDT = 1 << 5,   /* GDTR or the table */
    PREVIRT_STATE_LDT = 1 << 6,
    PREVIRT_STATE_IDT = 1 << 7,
    PREVIRT_STATE_TR = 1 << 8,  /* the task register or the TSS */
    PREVIRT_STATE_CR = 1 << 9,  /* control registers */
    PREVIRT_STATE_DR = 1 << 10, /* debug registers */
    PREVIRT_STATE_MSR = 1 << 11,
    PREVIRT_STATE_TSC = 1 << 12,
    PREVIRT_STATE_PMC = 1 << 13,
    PREVIRT_STATE_CPUID = 1 << 14,
    PREVIRT_STATE_XCR = 1 << 15,
    PREVIRT_STATE_TLB = 1 << 16,
    PREVIRT_STATE_CACHE = 1 << 17,
    PREVIRT_STATE_IO = 1 << 18,       /* the I/O address space */
    PREVIRT_STATE_ACTIVITY = 1 << 19, /* halted, waiting */
    PREVIRT_STATE_SMM = 1 << 20,
    PREVIRT_STATE_VM = 1 << 21 /* VMX or SVM state */
};

/* CPUID bits as word * 32 + bit, in the word order of Linux' asm/cpufeatures.h (word 0 is leaf 1
 * EDX, 1 leaf 0x80000001 EDX, 4 leaf 1 ECX, 6 0x80000001 ECX, 9 leaf 7 EBX, 10 leaf 0xd.1 EAX, 13
 * 0x80000008 EBX, 16 leaf 7 ECX, 18 leaf 7 EDX), which is how its alternatives name them. */
enum previrt_cpuid_feature {
    PREVIRT_CPUID_TSC = 0 * 32 + 4,
    PREVIRT_CPUID_MSR = 0 * 32 + 5,
    PREVIRT_CPUID_SEP = 0 * 32 + 11,
    PREVIRT_CPUID_SYSCALL = 1 * 32 + 11,
    PREVIRT_CPUID_RDTSCP = 1 * 32 + 27,
    PREVIRT_CPUID_MONITOR = 4 * 32 + 3,
    PREVIRT_CPUID_VMX = 4 * 32 + 5,
    PREVIRT_CPUID_SMX = 4 * 32 + 6,
    PREVIRT_CPUID_XSAVE = 4 * 32 + 26,
    PREVIRT_CPUID_SVM = 6 * 32 + 2,
    PREVIRT_CPUID_SGX = 9 * 32 + 2,
    PREVIRT_CPUID_INVPCID = 9 * 32 + 10,
    PREVIRT_CPUID_SMAP = 9 * 32 + 20,
    PREVIRT_CPUID_XSAVES = 10 * 32 + 3,
    PREVIRT_CPUID_WBNOINVD = 13 * 32 + 9,
    PREVIRT_CPUID_RDPID = 16 * 32 + 22,
    PREVIRT_CPUID_PCONFIG = 18 * 32 + 18
};

/* One row of the catalogue. Static storage. */
struct previrt_ia32_op_info {
    const char *name;   /* "cli", "mov to cr", ... */
    const char *source; /* manual and section */
    uint32_t reads;     /* PREVIRT_STATE_* */
    uint32_t writes;    /* PREVIRT_STATE_* */
    uint16_t feature;   /* PREVIRT_CPUID_*, 0: always there */
    uint8_t op;         /* enum previrt_ia32_op */
    uint8_t trap;       /* enum previrt_trap */
    uint8_t policy;     /* enum previrt_policy */
    uint8_t room;       /* bytes that a rewrite wants in all */
};

/* Operand layouts; ia32_ops.def explains them. */
enum previrt_ia32_layout {
    PREVIRT_LAYOUT_NONE,
    PREVIRT_LAYOUT_IMM8,
    PREVIRT_LAYOUT_IMM16,
    PREVIRT_LAYOUT_PTR,
    PREVIRT_LAYOUT_CR,
    PREVIRT_LAYOUT_DR,
    PREVIRT_LAYOUT_SREG,
    PREVIRT_LAYOUT_EXT,
    PREVIRT_LAYOUT_EXTMEM,
    PREVIRT_LAYOUT_EXTREG,
    PREVIRT_LAYOUT_REGRM,
    PREVIRT_LAYOUT_REGMEM,
    PREVIRT_LAYOUT_RMREG,
    PREVIRT_LAYOUT_STRING
};

/* One encoding. Static storage. */
struct previrt_ia32_form_info {
    uint8_t form;      /* enum previrt_ia32_form */
    uint8_t op;        /* enum previrt_ia32_op */
    uint8_t mandatory; /* mandatory prefix or 0 */
    uint8_t length;    /* opcode bytes in (opcode) */
    uint8_t opcode[4];
    uint8_t layout;   /* enum previrt_ia32_layout */
    int8_t extension; /* /digit, fixed segment register, or -1 */
    int8_t width;     /* operand bits; 0: operand size attribute; -1: none */
};

/* NULL for a number that is not in the catalogue. Freestanding. */
PREVIRT_API const struct previrt_ia32_op_info *previrt_ia32_op_info(unsigned op);
PREVIRT_API const struct previrt_ia32_form_info *previrt_ia32_form_info(unsigned form);

/* The operation called (name), PREVIRT_IA32_NO_OP if there is none. Freestanding. */
PREVIRT_API unsigned previrt_ia32_op_by_name(const char *name);

/*
 * A sensitive instruction (or a fused sti pair), decoded. Offsets count from the first prefix.
 * Register numbers are the manual's (EAX 0 ... EDI 7; ES 0 CS 1 SS 2 DS 3 FS 4 GS 5).
 */
struct previrt_ia32_insn {
    uint8_t op;         /* enum previrt_ia32_op */
    uint8_t form;       /* enum previrt_ia32_form */
    uint8_t length;     /* bytes, prefixes included, 1..15 */
    uint8_t prefixes;   /* how many prefix bytes it has */
    uint8_t opcode_end; /* offset of the first byte after the opcode */
    uint8_t invariant;  /* prefixes, opcode, ModRM and SIB: the bytes that no relocation touches */
    uint8_t width;      /* operand bits: 8, 16, 32; 0: none */
    uint8_t address16;  /* 1: 16-bit addressing (0x67) */
    uint8_t rep;        /* 0, 0xf2 or 0xf3: what repeats it */
    uint8_t lock;       /* 1: a LOCK prefix (only mov cr8 forms may have one) */
    uint8_t segment;    /* segment override as register number, 0xff: none */
    uint8_t has_modrm;
    uint8_t modrm, sib;
    uint8_t is_memory;       /* ModRM names memory */
    uint8_t system_register; /* number of the CR, DR or segment register, else 0xff */
    uint8_t reg;         /* general register operand (ModRM.reg, or rm where rm is the only one) */
    uint8_t rm;          /* ModRM.rm where it is a second general register */
    uint8_t base, index; /* of the memory operand, 0xff: none (32-bit addressing) */
    uint8_t scale;       /* 1, 2, 4, 8 */
    uint8_t displacement_offset; /* offset of the displacement, 0: none */
    uint8_t displacement_size;   /* 0, 1, 2, 4 bytes */
    uint8_t immediate_offset;    /* offset of the immediate, 0: none */
    uint8_t immediate_size;      /* 0, 1, 2, 4, 6 bytes */
    int32_t displacement;
    uint32_t immediate; /* port, vector, lret's count, or the offset of a far pointer */
    uint16_t selector;  /* of a far pointer */
};

/*
 * Decodes the sensitive instruction at (bytes), of which (size) may be read, in 32-bit code.
 * PREVIRT_OK, PREVIRT_E_OPERATION (not a sensitive instruction), PREVIRT_E_TRUNCATED,
 * PREVIRT_E_INVALID. (fused) != 0: sti followed by hlt, mwait or sysexit is decoded as the one
 * fused operation. Freestanding, no tables but the catalogue; nothing else is read.
 */
PREVIRT_API int previrt_ia32_decode_site(const uint8_t *bytes, size_t size, int fused,
                                         struct previrt_ia32_insn *insn);

/* What previrt_ia32_classify() says of one instruction. */
struct previrt_ia32_class {
    uint32_t size;  /* sizeof(struct previrt_ia32_class), set by the caller */
    uint8_t length; /* of the instruction */
    uint8_t op;     /* enum previrt_ia32_op; PREVIRT_IA32_NO_OP: not sensitive */
    uint8_t trap;   /* enum previrt_trap, 0 if not sensitive */
    uint8_t policy; /* enum previrt_policy, 0 if not sensitive */
};

/*
 * Decodes one instruction of (bits)-bit code (16, 32 or 64) at (bytes), of which (size) may be
 * read, with a complete decoder, and says whether it is sensitive. Never fused. PREVIRT_OK,
 * PREVIRT_E_UNDECODABLE, PREVIRT_E_TRUNCATED, PREVIRT_E_INVALID. Host only.
 */
PREVIRT_API int previrt_ia32_classify(const uint8_t *bytes, size_t size, unsigned bits,
                                      struct previrt_ia32_class *result);

#ifdef __cplusplus
}
#endif

#endif
