/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of mnemonics. Opcodes are SDM 2's, effects on the flags SDM 1 appendix A. */
#include "asm/mnemonic.h"

#include <previrt/ia32.h>

#include "asm/reader.h"

#define ENTRY(text, kind, op, bytes, width, reads, writes, flow)                                   \
    {text,  sizeof(text) - 1, PV_KIND_##kind, PREVIRT_IA32_##op, bytes, width,                     \
     reads, writes,           PV_FLOW_##flow},
#define OP(text, kind, op, bytes)           ENTRY(text, kind, op, bytes, 0, 0, 0, NEXT)
#define SIZED(text, kind, op, bytes, width) ENTRY(text, kind, op, bytes, width, 0, 0, NEXT)
/* Intel and AT&T spell the operand size as a suffix; this is the mnemonic without, with w, and with
 * l */
#define WL(text, kind, op, bytes)                                                                  \
    SIZED(text, kind, op, bytes, 0)                                                                \
    SIZED(text "w", kind, op, bytes, 16) SIZED(text "l", kind, op, bytes, 32)
#define PLAIN(text, reads, writes) ENTRY(text, PLAIN, NO_OP, 0, 0, reads, writes, NEXT)
#define FLOW(text, reads, flow)    ENTRY(text, PLAIN, NO_OP, 0, 0, reads, 0, flow)
#define DIRECTIVE(text, kind)      ENTRY(text, kind, NO_OP, 0, 0, 0, 0, UNKNOWN)

#define CF  PV_CF
#define PF  PV_PF
#define AF  PV_AF
#define ZF  PV_ZF
#define SF  PV_SF
#define OF  PV_OF
#define ALL PV_FLAGS_ALL

/* clang-format off */
const struct pv_mnemonic pv_mnemonics[] = {
    /* interrupt flag and flags */
    OP("cli", ALONE, CLI, 1) OP("sti", ALONE, STI, 1) OP("hlt", ALONE, HLT, 1)
    ENTRY("pushf", ALONE, PUSHF, 1, 0, ALL, 0, NEXT) ENTRY("pushfw", ALONE, PUSHF, 1, 16, ALL, 0, NEXT)
    ENTRY("pushfl", ALONE, PUSHF, 1, 32, ALL, 0, NEXT) ENTRY("pushfd", ALONE, PUSHF, 1, 32, ALL, 0, NEXT)
    ENTRY("popf", ALONE, POPF, 1, 0, 0, ALL, NEXT) ENTRY("popfw", ALONE, POPF, 1, 16, 0, ALL, NEXT)
    ENTRY("popfl", ALONE, POPF, 1, 32, 0, ALL, NEXT) ENTRY("popfd", ALONE, POPF, 1, 32, 0, ALL, NEXT)

    /* port I/O */
    OP("in", IN, IN, 1) SIZED("inb", IN, IN, 1, 8) SIZED("inw", IN, IN, 1, 16) SIZED("inl", IN, IN, 1, 32)
    OP("out", OUT, OUT, 1) SIZED("outb", OUT, OUT, 1, 8) SIZED("outw", OUT, OUT, 1, 16)
    SIZED("outl", OUT, OUT, 1, 32)
    OP("ins", STRING_IO, INS, 1) SIZED("insb", STRING_IO, INS, 1, 8) SIZED("insw", STRING_IO, INS, 1, 16)
    SIZED("insl", STRING_IO, INS, 1, 32) SIZED("insd", STRING_IO, INS, 1, 32)
    OP("outs", STRING_IO, OUTS, 1) SIZED("outsb", STRING_IO, OUTS, 1, 8)
    SIZED("outsw", STRING_IO, OUTS, 1, 16) SIZED("outsl", STRING_IO, OUTS, 1, 32)
    SIZED("outsd", STRING_IO, OUTS, 1, 32)

    /* far control transfers */
    ENTRY("iret", TRANSFER, IRET, 1, 0, 0, ALL, DEAD) ENTRY("iretw", TRANSFER, IRET, 1, 16, 0, ALL, DEAD)
    ENTRY("iretl", TRANSFER, IRET, 1, 32, 0, ALL, DEAD) ENTRY("iretd", TRANSFER, IRET, 1, 32, 0, ALL, DEAD)
    ENTRY("lcall", FAR, LCALL, 1, 0, 0, 0, CALL) ENTRY("lcallw", FAR, LCALL, 1, 16, 0, 0, CALL)
    ENTRY("lcalll", FAR, LCALL, 1, 32, 0, 0, CALL)
    ENTRY("ljmp", FAR, LJMP, 1, 0, 0, 0, UNKNOWN) ENTRY("ljmpw", FAR, LJMP, 1, 16, 0, 0, UNKNOWN)
    ENTRY("ljmpl", FAR, LJMP, 1, 32, 0, 0, UNKNOWN)
    ENTRY("lret", LRET, LRET, 1, 0, 0, 0, RETURN) ENTRY("lretw", LRET, LRET, 1, 16, 0, 0, RETURN)
    ENTRY("lretl", LRET, LRET, 1, 32, 0, 0, RETURN) ENTRY("retf", LRET, LRET, 1, 0, 0, 0, RETURN)
    ENTRY("retfw", LRET, LRET, 1, 16, 0, 0, RETURN) ENTRY("retfd", LRET, LRET, 1, 32, 0, 0, RETURN)
    ENTRY("int", INT, INT, 1, 0, ALL, 0, UNKNOWN) ENTRY("into", TRANSFER, INTO, 1, 0, ALL, 0, UNKNOWN)
    ENTRY("syscall", TRANSFER, SYSCALL, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("sysret", TRANSFER, SYSRET, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("sysretl", TRANSFER, SYSRET, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("sysenter", TRANSFER, SYSENTER, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("sysexit", TRANSFER, SYSEXIT, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("sysexitl", TRANSFER, SYSEXIT, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("call", NEAR, LCALL, 1, 0, 0, 0, CALL) ENTRY("calll", NEAR, LCALL, 1, 0, 0, 0, CALL)
    ENTRY("callw", NEAR, LCALL, 1, 16, 0, 0, CALL)
    ENTRY("jmp", NEAR, LJMP, 1, 0, 0, 0, JUMP) ENTRY("jmpl", NEAR, LJMP, 1, 0, 0, 0, JUMP)
    ENTRY("jmpw", NEAR, LJMP, 1, 16, 0, 0, JUMP)

    /* segment, control and debug registers */
    OP("mov", MOV, NO_OP, 1) SIZED("movw", MOV, NO_OP, 1, 16) SIZED("movl", MOV, NO_OP, 1, 32)
    WL("push", PUSH, PUSH_SEG, 1) WL("pop", POP, POP_SEG, 1)
    WL("lds", MEMORY, LDS, 1) WL("les", MEMORY, LES, 1) WL("lfs", MEMORY, LFS, 2)
    WL("lgs", MEMORY, LGS, 2) WL("lss", MEMORY, LSS, 2)
    OP("clts", ALONE, CLTS, 2)
    OP("lmsw", MODRM, LMSW, 2) SIZED("lmsww", MODRM, LMSW, 2, 16) WL("smsw", MODRM, SMSW, 2)

    /* descriptor tables */
    WL("lgdt", MEMORY, LGDT, 2) WL("sgdt", MEMORY, SGDT, 2) WL("lidt", MEMORY, LIDT, 2)
    WL("sidt", MEMORY, SIDT, 2) OP("lgdtd", MEMORY, LGDT, 2) OP("lidtd", MEMORY, LIDT, 2)
    OP("sgdtd", MEMORY, SGDT, 2) OP("sidtd", MEMORY, SIDT, 2)
    OP("lldt", MODRM, LLDT, 2) SIZED("lldtw", MODRM, LLDT, 2, 16) WL("sldt", MODRM, SLDT, 2)
    OP("ltr", MODRM, LTR, 2) SIZED("ltrw", MODRM, LTR, 2, 16) WL("str", MODRM, STR, 2)
    ENTRY("lar", MODRM, LAR, 2, 0, 0, ZF, NEXT) ENTRY("larw", MODRM, LAR, 2, 16, 0, ZF, NEXT)
    ENTRY("larl", MODRM, LAR, 2, 32, 0, ZF, NEXT) ENTRY("lsl", MODRM, LSL, 2, 0, 0, ZF, NEXT)
    ENTRY("lslw", MODRM, LSL, 2, 16, 0, ZF, NEXT) ENTRY("lsll", MODRM, LSL, 2, 32, 0, ZF, NEXT)
    ENTRY("verr", MODRM, VERR, 2, 0, 0, ZF, NEXT) ENTRY("verrw", MODRM, VERR, 2, 0, 0, ZF, NEXT)
    ENTRY("verw", MODRM, VERW, 2, 0, 0, ZF, NEXT) ENTRY("verww", MODRM, VERW, 2, 0, 0, ZF, NEXT)
    ENTRY("arpl", MODRM, ARPL, 1, 0, 0, ZF, NEXT) ENTRY("arplw", MODRM, ARPL, 1, 0, 0, ZF, NEXT)

    /* caches and TLB */
    OP("invd", ALONE, INVD, 2) OP("wbinvd", ALONE, WBINVD, 2) OP("wbnoinvd", ALONE, WBNOINVD, 3)
    OP("invlpg", MEMORY, INVLPG, 2) OP("invpcid", MEMORY, INVPCID, 4)

    /* identification, model-specific registers, counters, extended state */
    OP("cpuid", ALONE, CPUID, 2) OP("rdmsr", ALONE, RDMSR, 2) OP("wrmsr", ALONE, WRMSR, 2)
    OP("rdtsc", ALONE, RDTSC, 2) OP("rdtscp", ALONE, RDTSCP, 3) OP("rdpmc", ALONE, RDPMC, 2)
    OP("rdpid", MODRM, RDPID, 3) OP("xgetbv", ALONE, XGETBV, 3) OP("xsetbv", ALONE, XSETBV, 3)
    OP("xsaves", MEMORY, XSAVES, 2) OP("xrstors", MEMORY, XRSTORS, 2)

    /* waiting, SMAP, system management, enclaves */
    OP("monitor", ALONE, MONITOR, 3) OP("mwait", ALONE, MWAIT, 3) OP("clac", ALONE, CLAC, 3)
    OP("stac", ALONE, STAC, 3)
    ENTRY("rsm", TRANSFER, RSM, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("getsec", ALONE, GETSEC, 2, 0, ALL, 0, UNKNOWN)
    ENTRY("encls", ALONE, ENCLS, 3, 0, ALL, 0, UNKNOWN)
    ENTRY("pconfig", ALONE, PCONFIG, 3, 0, 0, 0, NEXT)

    /* VMX and SVM */
    OP("vmcall", ALONE, VMCALL, 3) OP("vmlaunch", ALONE, VMLAUNCH, 3) OP("vmresume", ALONE, VMRESUME, 3)
    OP("vmxoff", ALONE, VMXOFF, 3) OP("vmxon", MEMORY, VMXON, 3) OP("vmptrld", MEMORY, VMPTRLD, 2)
    OP("vmptrst", MEMORY, VMPTRST, 2) OP("vmclear", MEMORY, VMCLEAR, 3)
    OP("vmread", MODRM, VMREAD, 2) OP("vmreadl", MODRM, VMREAD, 2)
    OP("vmwrite", MODRM, VMWRITE, 2) OP("vmwritel", MODRM, VMWRITE, 2)
    OP("invept", MEMORY, INVEPT, 4) OP("invvpid", MEMORY, INVVPID, 4) OP("vmfunc", ALONE, VMFUNC, 3)
    OP("vmrun", ALONE, VMRUN, 3) OP("vmmcall", ALONE, VMMCALL, 3) OP("vmload", ALONE, VMLOAD, 3)
    OP("vmsave", ALONE, VMSAVE, 3) OP("stgi", ALONE, STGI, 3) OP("clgi", ALONE, CLGI, 3)
    OP("skinit", ALONE, SKINIT, 3) OP("invlpga", ALONE, INVLPGA, 3)

    /* prefixes */
    OP("rep", PREFIX, NO_OP, 1) OP("repe", PREFIX, NO_OP, 1) OP("repz", PREFIX, NO_OP, 1)
    OP("repne", PREFIX, NO_OP, 1) OP("repnz", PREFIX, NO_OP, 1) OP("lock", PREFIX, NO_OP, 1)
    OP("data16", PREFIX, NO_OP, 1) OP("data32", PREFIX, NO_OP, 1) OP("addr16", PREFIX, NO_OP, 1)
    OP("addr32", PREFIX, NO_OP, 1) OP("aword", PREFIX, NO_OP, 1) OP("adword", PREFIX, NO_OP, 1)
    OP("word", PREFIX, NO_OP, 1) OP("dword", PREFIX, NO_OP, 1)
    OP("cs", PREFIX, NO_OP, 1) OP("ds", PREFIX, NO_OP, 1) OP("es", PREFIX, NO_OP, 1)
    OP("fs", PREFIX, NO_OP, 1) OP("gs", PREFIX, NO_OP, 1) OP("ss", PREFIX, NO_OP, 1)
    OP("notrack", PREFIX, NO_OP, 1) OP("bnd", PREFIX, NO_OP, 1) OP("xacquire", PREFIX, NO_OP, 1)
    OP("xrelease", PREFIX, NO_OP, 1)

    /* flags: writers */
    PLAIN("add", 0, ALL) PLAIN("sub", 0, ALL) PLAIN("cmp", 0, ALL) PLAIN("test", 0, ALL)
    PLAIN("and", 0, ALL) PLAIN("or", 0, ALL) PLAIN("xor", 0, ALL) PLAIN("neg", 0, ALL)
    PLAIN("mul", 0, ALL) PLAIN("imul", 0, ALL) PLAIN("div", 0, ALL) PLAIN("idiv", 0, ALL)
    PLAIN("xadd", 0, ALL) PLAIN("cmpxchg", 0, ALL) PLAIN("cmpxchg8b", 0, ZF)
    PLAIN("inc", 0, PF | AF | ZF | SF | OF) PLAIN("dec", 0, PF | AF | ZF | SF | OF)
    PLAIN("bt", 0, CF) PLAIN("bts", 0, CF) PLAIN("btr", 0, CF) PLAIN("btc", 0, CF)
    PLAIN("bsf", 0, ZF) PLAIN("bsr", 0, ZF) PLAIN("popcnt", 0, ALL) PLAIN("lzcnt", 0, CF | ZF)
    PLAIN("tzcnt", 0, CF | ZF) PLAIN("aam", 0, ALL) PLAIN("aad", 0, ALL)
    PLAIN("clc", 0, CF) PLAIN("stc", 0, CF) PLAIN("sahf", 0, CF | PF | AF | ZF | SF)
    ENTRY("shl", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT) ENTRY("sal", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT)
    ENTRY("shr", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT) ENTRY("sar", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT)
    ENTRY("shld", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT) ENTRY("shrd", PLAIN, NO_OP, 0, 0, 0, ALL, SHIFT)
    ENTRY("rol", PLAIN, NO_OP, 0, 0, 0, CF, SHIFT) ENTRY("ror", PLAIN, NO_OP, 0, 0, 0, CF, SHIFT)
    ENTRY("cmps", PLAIN, NO_OP, 0, 0, 0, ALL, COMPARE) ENTRY("scas", PLAIN, NO_OP, 0, 0, 0, ALL, COMPARE)
    PLAIN("fcomi", 0, ZF | PF | CF) PLAIN("fcomip", 0, ZF | PF | CF) PLAIN("fucomi", 0, ZF | PF | CF)
    PLAIN("fucomip", 0, ZF | PF | CF)

    /* readers */
    PLAIN("adc", CF, ALL) PLAIN("sbb", CF, ALL)
    ENTRY("rcl", PLAIN, NO_OP, 0, 0, CF, CF, SHIFT) ENTRY("rcr", PLAIN, NO_OP, 0, 0, CF, CF, SHIFT)
    PLAIN("cmc", CF, CF) PLAIN("lahf", CF | PF | AF | ZF | SF, 0) PLAIN("salc", CF, 0)
    PLAIN("daa", CF | AF, ALL) PLAIN("das", CF | AF, ALL) PLAIN("aaa", AF, ALL) PLAIN("aas", AF, ALL)
    PLAIN("adcx", CF, CF) PLAIN("adox", OF, OF)

    /* neither */
    PLAIN("movb", 0, 0) PLAIN("movzbl", 0, 0) PLAIN("movzbw", 0, 0) PLAIN("movzwl", 0, 0)
    PLAIN("movsbl", 0, 0) PLAIN("movsbw", 0, 0) PLAIN("movswl", 0, 0) PLAIN("movzb", 0, 0)
    PLAIN("movzx", 0, 0) PLAIN("movsx", 0, 0) PLAIN("movs", 0, 0) PLAIN("stos", 0, 0)
    PLAIN("lods", 0, 0) PLAIN("lea", 0, 0) PLAIN("xchg", 0, 0) PLAIN("not", 0, 0) PLAIN("bswap", 0, 0)
    PLAIN("nop", 0, 0) PLAIN("pause", 0, 0) PLAIN("cwtl", 0, 0) PLAIN("cltd", 0, 0) PLAIN("cbtw", 0, 0)
    PLAIN("cwtd", 0, 0) PLAIN("cdq", 0, 0) PLAIN("cwde", 0, 0) PLAIN("cld", 0, 0) PLAIN("std", 0, 0)
    PLAIN("xlat", 0, 0) PLAIN("leave", 0, 0) PLAIN("enter", 0, 0) PLAIN("pusha", 0, 0)
    PLAIN("popa", 0, 0) PLAIN("lfence", 0, 0) PLAIN("mfence", 0, 0) PLAIN("sfence", 0, 0)
    PLAIN("endbr32", 0, 0) PLAIN("prefetcht0", 0, 0) PLAIN("prefetchnta", 0, 0) PLAIN("prefetchw", 0, 0)
    PLAIN("clflush", 0, 0) PLAIN("movnti", 0, 0) PLAIN("movsb", 0, 0) PLAIN("movsw", 0, 0)

    /* control flow */
    FLOW("ret", 0, RETURN) FLOW("jecxz", 0, BRANCH) FLOW("jcxz", 0, BRANCH) FLOW("loop", 0, BRANCH)
    FLOW("loope", ZF, BRANCH) FLOW("loopz", ZF, BRANCH) FLOW("loopne", ZF, BRANCH)
    FLOW("loopnz", ZF, BRANCH) FLOW("ud2", 0, DEAD)

    /* directives */
    DIRECTIVE(".macro", MACRO) DIRECTIVE(".endm", ENDM) DIRECTIVE(".endmacro", ENDM)
    DIRECTIVE(".rept", REPEAT) DIRECTIVE(".rep", REPEAT) DIRECTIVE(".irp", REPEAT)
    DIRECTIVE(".irpc", REPEAT) DIRECTIVE(".irep", REPEAT) DIRECTIVE(".irepc", REPEAT)
    DIRECTIVE(".endr", ENDR) DIRECTIVE(".purgem", PURGEM)
    DIRECTIVE(".section", SECTION) DIRECTIVE(".pushsection", PUSHSECTION)
    DIRECTIVE(".popsection", POPSECTION) DIRECTIVE(".previous", PREVIOUS)
    DIRECTIVE(".text", TEXT) DIRECTIVE(".data", TEXT) DIRECTIVE(".bss", TEXT)
    DIRECTIVE(".linkonce", LINKONCE)
    DIRECTIVE(".code16", CODE16) DIRECTIVE(".code16gcc", CODE16) DIRECTIVE(".code32", CODE32)
    DIRECTIVE(".code64", CODE64) DIRECTIVE(".intel_syntax", INTEL) DIRECTIVE(".att_syntax", ATT)
    DIRECTIVE(".byte", BYTE) DIRECTIVE(".loc", LOC)
    DIRECTIVE(".align", NEUTRAL_DIRECTIVE) DIRECTIVE(".balign", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".p2align", NEUTRAL_DIRECTIVE) DIRECTIVE(".type", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".size", NEUTRAL_DIRECTIVE) DIRECTIVE(".globl", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".global", NEUTRAL_DIRECTIVE) DIRECTIVE(".local", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".weak", NEUTRAL_DIRECTIVE) DIRECTIVE(".hidden", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".set", NEUTRAL_DIRECTIVE) DIRECTIVE(".equ", NEUTRAL_DIRECTIVE)
    DIRECTIVE(".file", NEUTRAL_DIRECTIVE) DIRECTIVE(".subsection", SECTION)
};
/* clang-format on */

const size_t pv_mnemonic_count = sizeof(pv_mnemonics) / sizeof(pv_mnemonics[0]);

#define SLOT_EMPTY 0xffff

static uint32_t slot_of(uint32_t hash)
{
    return (hash ^ (hash >> 15)) & (PV_MNEMONIC_SLOTS - 1);
}

void pv_mnemonic_table_init(struct pv_mnemonic_table *table)
{
    for (size_t i = 0; i < PV_MNEMONIC_SLOTS; i++)
        table->slot[i] = SLOT_EMPTY;
    for (size_t i = 0; i < pv_mnemonic_count; i++) {
        uint32_t hash = PV_HASH_SEED, slot;

        for (const char *p = pv_mnemonics[i].name; *p; p++)
            hash = PV_HASH_STEP(hash, *p);
        slot = slot_of(hash);
        while (table->slot[slot] != SLOT_EMPTY)
            slot = (slot + 1) & (PV_MNEMONIC_SLOTS - 1);
        table->slot[slot] = (uint16_t)i;
    }
}

static int same_name(const char *text, const char *name, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        char c = text[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 0x20);
        if (c != name[i])
            return 0;
    }
    return 1;
}

const struct pv_mnemonic *pv_mnemonic_find(const struct pv_mnemonic_table *table, const char *name,
                                           uint32_t length, uint32_t hash)
{
    uint32_t slot = slot_of(hash);

    for (; table->slot[slot] != SLOT_EMPTY; slot = (slot + 1) & (PV_MNEMONIC_SLOTS - 1)) {
        const struct pv_mnemonic *mnemonic = &pv_mnemonics[table->slot[slot]];

        if (mnemonic->length == length && same_name(name, mnemonic->name, length))
            return mnemonic;
    }
    return NULL;
}
