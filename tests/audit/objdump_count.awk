# SPDX-License-Identifier: BSD-2-Clause
# Counts sensitive operations by class from `objdump -d -w --no-show-raw-insn`: an independent opinion, which shares
# nothing with the library but the names of the classes. Prints "count  class", sorted by the caller.

function is_segment(operand)
{
    return operand ~ /^%(es|cs|ss|ds|fs|gs)$/
}

BEGIN {
    FS = "\t"
    # mnemonics that need no look at the operands; AT&T suffixes are cut off below
    split("cli sti hlt in out into syscall sysret sysenter sysexit lds les lfs lgs lss clts lmsw " \
          "smsw lgdt sgdt lidt sidt lldt sldt ltr str lar lsl verr verw arpl invd wbinvd wbnoinvd " \
          "invlpg invpcid cpuid rdmsr wrmsr rdtsc rdtscp rdpmc rdpid xgetbv xsetbv xsaves xrstors " \
          "monitor mwait clac stac rsm getsec encls pconfig vmcall vmlaunch vmresume vmxoff vmxon " \
          "vmptrld vmptrst vmclear vmread vmwrite invept invvpid vmfunc vmrun vmmcall vmload vmsave " \
          "stgi clgi skinit invlpga int", names, " ")
    for (i in names)
        plain[names[i]] = names[i]
    split("pushf popf iret lcall ljmp lret lgdt sgdt lidt sidt smsw lldt sldt ltr str lmsw sysret in out " \
          "sysexit ins outs xsaves64 xrstors64 lar lsl verr verw", suffixed, " ")
    for (i in suffixed)
        for (s = 1; s <= 4; s++)
            plain[suffixed[i] substr("bwlq", s, 1)] = suffixed[i]
    for (i in suffixed)
        plain[suffixed[i]] = suffixed[i]
    plain["xsaves64"] = "xsaves"
    plain["xrstors64"] = "xrstors"
}

# "c1000006:\tlgdtl  0x1411006"; everything else is a header or a label
NF < 2 || $1 !~ /^ *[0-9a-f]+: *$/ {
    next
}

{
    text = $2
    sub(/[#<].*$/, "", text)
    count = split(text, word, / +/)
    at = 1
    while (at <= count && word[at] ~ /^(data16|addr16|data32|addr32|rep|repz|repnz|lock|cs|ds|es|ss|fs|gs|bnd|notrack|rex.*)$/)
        at++
    if (at > count || word[at] == "")
        next
    mnemonic = word[at]
    operands = word[at + 1]
    if (mnemonic == "(bad)" || mnemonic ~ /^\.byte/) {
        total["(bad)"]++
        next
    }
    if (mnemonic in plain) {
        total[plain[mnemonic]]++
        next
    }
    first = operands
    second = operands
    sub(/,.*$/, "", first)
    sub(/^.*,/, "", second)
    if (mnemonic ~ /^mov[bwlq]?$/) {
        if (operands !~ /,/)
            next
        if (is_segment(first))
            total["mov from seg"]++
        else if (is_segment(second))
            total["mov to seg"]++
        else if (first ~ /^%cr[0-9]+$/)
            total["mov from cr"]++
        else if (second ~ /^%cr[0-9]+$/)
            total["mov to cr"]++
        else if (first ~ /^%(db|dr)[0-9]+$/)
            total["mov from dr"]++
        else if (second ~ /^%(db|dr)[0-9]+$/)
            total["mov to dr"]++
    } else if (mnemonic ~ /^push[wlq]?$/ && is_segment(operands)) {
        total["push seg"]++
    } else if (mnemonic ~ /^pop[wlq]?$/ && is_segment(operands)) {
        total["pop seg"]++
    }
}

END {
    for (name in total)
        printf "%8d  %s\n", total[name], name
}
