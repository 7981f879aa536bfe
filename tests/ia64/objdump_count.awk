# SPDX-License-Identifier: BSD-2-Clause
# Counts the sensitive operations of IA-64 code from `objdump -d --no-show-raw-insn`: an independent opinion, which
# shares nothing with the library but the names. Prints "count  name"; with -v list=1 each one instead, as
# "generated|elsewhere bundle-address slot name", where generated code is what stands in .previrt.stubs.

# "[MMI]       (p06) mov cr.tpr=r9;;": the name that the catalogue has, or nothing
function operation(text,    word, operands, to, from)
{
    sub(/^ *\(p[0-9]+\) */, "", text)
    sub(/;;.*$/, "", text)
    sub(/\/\/.*$/, "", text)
    word = text
    sub(/ .*$/, "", word)
    operands = text
    sub(/^[^ ]* */, "", operands)
    if (word ~ /^(rsm|ssm|rum|sum|thash|ttag|tpa|tak|cover|rfi|epc)$/)
        return word
    if (word ~ /^(itc\.[di]|itr\.[di]|ptc\.(l|g|ga|e)|ptr\.[di]|bsw\.[01]|vmsw\.[01]|probe\.(r|w|r\.fault|w\.fault|rw\.fault))$/)
        return word
    if (word ~ /^br\.ia/)
        return "br.ia"
    if (word !~ /^mov(\.[mi])?$/ || operands !~ /=/)
        return ""
    to = from = operands
    sub(/=.*$/, "", to)
    sub(/^.*=/, "", from)
    if (to == "psr.l") return "mov to psr.l"
    if (to == "psr.um") return "mov to psr.um"
    if (from == "psr") return "mov from psr"
    if (from == "psr.um") return "mov from psr.um"
    if (to ~ /^cr/) return "mov to cr"
    if (from ~ /^cr/) return "mov from cr"
    if (to ~ /^ar\.k[0-7]$/) return "mov to ar.k"
    if (from ~ /^ar\.k[0-7]$/) return "mov from ar.k"
    if (to ~ /^ar\.(itc|ruc|rsc)$/) return "mov to " to
    if (from ~ /^ar\.(itc|ruc|rsc)$/) return "mov from " from
    if (to ~ /^(rr|dbr|ibr|pkr|pmc|pmd|msr)\[/) return "mov to " substr(to, 1, index(to, "[") - 1)
    if (from ~ /^(rr|dbr|ibr|pkr|pmc|pmd|msr|cpuid)\[/) return "mov from " substr(from, 1, index(from, "[") - 1)
    return ""
}

/^Disassembly of section / {
    where = $0 ~ / \.previrt\.stubs:$/ ? "generated" : "elsewhere"
}

/^ *[0-9a-f]+:\t/ {
    address = $1
    sub(/:$/, "", address)
    sub(/^ *[0-9a-f]+:\t+/, "")
    sub(/^ *\[...\] */, "")
    sub(/^ +/, "")
    name = operation($0)
    if (name == "")
        next
    total[name]++
    if (list) # slots stand at offsets 0, 6 and 12 of their bundle
        print where, substr(address, 1, length(address) - 1) "0", index("06c", substr(address, length(address))) - 1, name
}

END {
    for (name in total)
        if (!list)
            printf "%8d  %s\n", total[name], name
}
