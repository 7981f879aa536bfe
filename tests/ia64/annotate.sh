#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# annotate.sh PREVIRT SOURCE-DIRECTORY: `previrt as' on IA-64 text. The code has to be what the assembler alone makes of it,
# byte for byte, and every operation has to be in the table. Exit status 0, 1 (a check failed), 77 (no assembler).
set -u
# shellcheck source=../verdicts.sh
. "$(dirname "$0")/../verdicts.sh"
prefix=ia64-linux-gnu-
for tool in as ld objdump objcopy readelf; do
    command -v $prefix$tool >/dev/null || { echo "skipped: no $prefix$tool (Debian: binutils-ia64-linux-gnu)"; exit 77; }
done
has_table() { ${prefix}readelf -SW "$1" | grep ' \.note\.previrt ' >/dev/null; }
has_no_table() { ! has_table "$1"; }
records() { "$previrt" table dump "$1" | sed -n 's/^\([0-9]*\) sites, .*/\1/p'; }
is() { [ "$1" = "$2" ] || { echo "$1, not $2"; return 1; }; }

# what the table adds is not in the code
same() {
    ${prefix}objdump -dr "$1" | sed 1,3d >one
    ${prefix}objdump -dr "$2" | sed 1,3d >two
    cmp one two || return 1
    ${prefix}objcopy -R .note.previrt -R .rela.note.previrt "$1" one
    ${prefix}objcopy "$2" two
    cmp one two
}

${prefix}as "$here/sites.s" -o plain.o 2>/dev/null
check "sites.s assembles" "$previrt" as --isa ia64 "$here/sites.s" -o sites.o
check "but for the table, the object is the assembler's" same sites.o plain.o
check "the table matches the text" "$previrt" table verify sites.o
check "nothing is missed" "$previrt" audit sites.o
check "scan and audit count as objdump does" "$here/compare" "$previrt" sites.o plain.o
check "an object without a table fails the audit" sh -c '"$1" audit plain.o >out; [ $? = 1 ] && grep -q "^missed" out' - "$previrt"
check "records: every operation but that in .exit.text" is "$(records sites.o)" \
    "$(($("$previrt" scan --sites sites.o | grep -c ' 0x') - 1))"
check "anchors are aligned, as linkers and module loaders want them" sh -c '
    ${0}readelf -rW sites.o | sed -n "/note.previrt/,/^\$/s/^\([0-9a-f]\{16\}\) .*PCREL32LSB.*/\1/p" >anchors
    [ "$(wc -l <anchors)" = 3 ] && ! grep -q "[^048c]\$" anchors' $prefix
"$previrt" table dump sites.o >dump
check "pinned: what tables name, and no more" is "$(grep -c ' pinned ' dump)" 3
check "pinned: the bundle of a load that may fault" grep -Eq ':1 +mov from cr +pinned +pinned\+0x0 +r9, 66' dump
check "pinned: a bundle that is patched" grep -Eq ':0 +mov from cr +pinned +pinned\+0x10 +r10, 19' dump
check "excluded by a rule, which the audit names" sh -c '"$1" audit sites.o | grep -q "excluded: 1 by rule exit-code"' - "$previrt"
check "--json" sh -c '"$1" table dump --json sites.o | grep -q "\"pinned\": true" && "$1" audit --json sites.o | grep -q "\"architecture\": \"ia64\""' - "$previrt"

# ---- who is asked to assemble ----
printf '\trsm 0x4000\n\t;;\n' >one.s
check "standard input" sh -c '"$1" as --isa=ia64 -o stdin.o - <one.s' - "$previrt"
check "standard input: a table" has_table stdin.o
check "by the compiler's name" env COLLECT_GCC=/opt/bin/ia64-linux-gnu-gcc-12 "$previrt" as one.s -o cc.o
check "by the compiler's name: a table" has_table cc.o
check "by the assembler's name" env PREVIRT_AS=${prefix}as "$previrt" as one.s -o as.o
check "by the assembler's name: a table" has_table as.o
printf '\tadd r8 = r9, r10\n\t;;\n' >none.s
check "without an operation" "$previrt" as --isa ia64 none.s -o none.o
check "without an operation: no table" has_no_table none.o
check "a host program's object gets none" sh -c 'mkdir scripts && "$1" as --isa ia64 one.s -o scripts/one.o' - "$previrt"
check "a host program's object gets none: no table" has_no_table scripts/one.o
printf '\tno such instruction\n' >bad.s
check "an error of the assembler is its own" sh -c '"$1" as --isa ia64 bad.s -o bad.o; [ $? = 1 ] && [ ! -e bad.o ]' - "$previrt"
check "/dev/null is no object" "$previrt" as --isa ia64 one.s -o /dev/null
check "an unknown --isa" sh -c '"$1" as --isa vax one.s -o x.o; [ $? = 2 ]' - "$previrt"
check "--static is refused" sh -c '"$1" as --isa ia64 --static native one.s -o x.o; [ $? = 2 ]' - "$previrt"
check "a fake compiler finds the assembler" sh -c '
    cat >ia64-linux-gnu-gcc <<\EOF
#!/bin/sh
# as much of a compiler as previrt cc needs: takes -BDIRECTORY and runs the assembler that it finds there
directory=${1#-B}
COLLECT_GCC=$0 exec "$directory/as" one.s -o compiled.o
EOF
    chmod +x ia64-linux-gnu-gcc; "$1" cc ./ia64-linux-gnu-gcc -c one.c' - "$previrt"
check "a fake compiler finds the assembler: a table" has_table compiled.o

# ---- linking: the table survives ld -r and ld ----
${prefix}objcopy --redefine-sym disable=disable2 --redefine-sym silent=silent2 --redefine-sym start=start2 \
    --redefine-sym pinned=pinned2 sites.o other.o
cat >link.lds <<'EOF'
SECTIONS {
    . = 0xa000000100000000;
    .text : { *(.text .text.*) }
    .init.text : { *(.init.text) }
    __ex_table : { *(__ex_table) }
    .data..patch.vtop : { *(.data..patch.vtop) }
    .rodata : { *(.rodata) }
    .notes : { *(.note.*) }
    .page : ALIGN(0x1000) { *(.page) }
    /DISCARD/ : { *(.exit.text) *(.IA_64.*) }
}
EOF
check "ld -r" ${prefix}ld -r sites.o other.o -o both.o
check "ld -r: nothing is missed" "$previrt" audit both.o
check "ld" ${prefix}ld -T link.lds -e start both.o -o image
check "ld: nothing is missed" "$previrt" audit image
check "ld: every record" is "$(records image)" "$((2 * $(records sites.o)))"
check "ld: scan as objdump" "$here/compare" "$previrt" image

# ---- an image that is kept in data, like Linux' gate page ----
cat >gate.lds <<'EOF'
SECTIONS {
    . = 0xa000000000000000 + SIZEOF_HEADERS;
    .hash : { *(.hash) } .dynsym : { *(.dynsym) } .dynstr : { *(.dynstr) }
    .note : { *(.note*) }
    .dynamic : { *(.dynamic) }
    .text : { *(.text) }
    /DISCARD/ : { *(.IA_64.*) *(.got) *(.got.plt) *(.data) *(.bss) }
}
EOF
cat >gate.s <<'EOF'
	.global __kernel_syscall_via_epc#, __kernel_sigtramp#
	.proc __kernel_sigtramp#
__kernel_sigtramp:
	mov ar.rsc = 0
	;;
	.endp __kernel_sigtramp#
	.align 16
	.proc __kernel_syscall_via_epc#
__kernel_syscall_via_epc:
	rsm 0x4000
	;;
	mov r16 = ar.k6
	;;
	.endp __kernel_syscall_via_epc#
EOF
printf '\t.section .page,"aw"\n\t.incbin "gate.so"\n' >page.s
gate() { # gate COMMAND...: assembles the gate page with COMMAND
    "$@" gate.s -o gate.o && ${prefix}ld -shared -s -T gate.lds gate.o -o gate.so &&
        ${prefix}as page.s -o page.o && ${prefix}ld -T link.lds -e start both.o page.o -o gated
}
check "gate page, annotated" gate "$previrt" as --isa ia64
check "gate page: nothing is missed" "$previrt" audit gated
check "gate page: its operations are listed" sh -c '
    "$1" audit --all gated | grep -F "[.page]" >listed
    [ "$(grep -c "^annotated" listed)" = 2 ] && [ "$(grep -c "^excluded.*rule signal-trampoline" listed)" = 1 ]' - "$previrt"
check "gate page: scan as objdump" "$here/compare" "$previrt" gated
check "gate page, not annotated" gate ${prefix}as
check "gate page, not annotated: missed" sh -c '"$1" audit gated >out; [ $? = 1 ] && [ "$(grep -c "^missed *\[.page\]" out)" = 2 ]' - "$previrt"

# ---- what an audit has to notice ----
cp image damaged
offset=$(${prefix}readelf -SW image | sed -n 's/^ *\[ *[0-9]*\] \.text  *PROGBITS  *[0-9a-f]*  *\([0-9a-f]*\) .*/\1/p')
printf '\377' | dd of=damaged bs=1 seek=$((0x$offset + 6)) conv=notrunc 2>/dev/null
check "changed text" sh -c '"$1" audit damaged; [ $? = 1 ] || exit 1; "$1" table verify damaged; [ $? = 1 ]' - "$previrt"

# ---- rewriting offline ----
mkdir init
printf '\t.bss\nzeros: .skip 100\n\t.text\n\t.align 16\n\t.global first#\nfirst: rsm 0x4000\n\t;;\n' >first.s
check "room for stubs" "$previrt" as --isa ia64 --stub-room 0x8000 first.s -o init/main.o
check "room for stubs: a symbol" sh -c '${0}readelf -sW init/main.o | grep -q "32768 OBJECT  GLOBAL HIDDEN .* __previrt_stubs"' $prefix
check "no room in other objects" sh -c '! ${0}readelf -sW sites.o | grep -q __previrt_stubs' $prefix
cat >kernel.lds <<'EOF'
PHDRS { text PT_LOAD; data PT_LOAD; note PT_NOTE; }
OFFSET = 0xa0000000fc000000;
SECTIONS {
    . = 0xa000000100000000;
    .text : AT(ADDR(.text) - OFFSET) { *(.text .text.*) } :text
    .init.text : AT(ADDR(.init.text) - OFFSET) { *(.init.text) }
    __ex_table : AT(ADDR(__ex_table) - OFFSET) { *(__ex_table) }
    .data..patch.vtop : AT(ADDR(.data..patch.vtop) - OFFSET) { *(.data..patch.vtop) }
    .rodata : AT(ADDR(.rodata) - OFFSET) { *(.rodata) }
    .notes : AT(ADDR(.notes) - OFFSET) { *(.note.*) } :text :note
    .page : AT(ADDR(.page) - OFFSET) ALIGN(0x1000) { *(.page) } :data
    .bss : AT(ADDR(.bss) - OFFSET) { *(.bss .bss.*) . += 0x100; } :data
    /DISCARD/ : { *(.exit.text) *(.IA_64.*) }
}
EOF
gate "$previrt" as --isa ia64
${prefix}ld --no-warn-rwx-segments -T kernel.lds -e start init/main.o sites.o page.o -o kernel || bad "ld"
check "a kernel" "$previrt" audit kernel
check "rewriting" "$previrt" rewrite --target native --json kernel -o rewritten
"$previrt" rewrite --target native kernel -o rewritten >stats 2>left
check "rewriting: what is left is what is pinned by more than the exception table" is \
    "$(grep -c 'left as it is: something names an address' left)" 1
check "rewriting: the rest is stubbed, the gate page too" grep -Eq '^all +27 +0 +0 +1 +0$' stats
check "rewriting: one instruction of the exception table moves" grep -Eq '^1 words of the exception table' stats
exceptions() { # exceptions FILE: the instructions that the exception table of FILE names, and where they stand
    ${prefix}objcopy -O binary --only-section=__ex_table "$1" words 2>/dev/null
    # only the lower half of addresses: a shell's numbers have a sign
    at=$((0x$(${prefix}readelf -SW "$1" | sed -n 's/^ *\[ *[0-9]*\] __ex_table  *PROGBITS  *a0000001\([0-9a-f]*\) .*/\1/p')))
    ${prefix}objdump -d --no-show-raw-insn "$1" >"$1.text"
    od -An -v -td4 -w8 words | while read -r instruction _; do
        # objdump's addresses of slots are 0, 6 and 12 bytes into their bundle
        slot=$(printf 'a0000001%08x' $((at + instruction)))
        awk -v want="${slot%?}$(printf %s "$slot" | tail -c 1 | tr 012 06c):" '/^Disassembly/ { where = $4 }
            $1 == want { sub(/^[^\t]*\t+/, ""); sub(/^ *\[...\]/, ""); sub(/;;.*/, ""); sub(/ +$/, ""); sub(/^ +/, ""); print where, $0 }' "$1.text"
        at=$((at + 8))
    done
}
exceptions kernel | sort >one
exceptions rewritten | sort >two
printf '%s\n' '.previrt.stubs: ld8 r14=[r33]' '.text: ld8 r8=[r32]' >three
check "... and the table names it where it is now" sh -c 'cat one two; cmp two three && [ "$(grep -c "^.text: ld8" one)" = 2 ]'
check "rewriting: the stubs are in the room" grep -q 'room for 32768 bytes: reserved by the image' stats
"$previrt" scan --sites rewritten | sed -n 's/^rewritten: \(.*\) 0x.*/\1/p' | sort | uniq -c >where
check "no operation outside generated code, but for what is pinned and the user half of the gate page" is \
    "$(grep -v 'previrt.stubs' where | awk '{ n += $1 } END { print n }')" 2
loaded() { # the stretches of memory that a file loads or clears
    last=
    ${prefix}readelf -lW "$1" | awk '$1 == "LOAD" { print $4, $6 }' | while read -r at size; do
        [ $((at)) = "$last" ] || echo "from $at"
        last=$((at + size))
        echo "to $last"
    done | awk '/^from/ { if (end) print end; print } { end = $0 } END { print end }'
}
loaded kernel >one
loaded rewritten >two
check "the same memory is loaded" sh -c 'cat one two; [ "$(wc -l <one)" -ge 2 ] && cmp one two'
check "objcopy and readelf take it" sh -c '"$0"objcopy rewritten copied && "$0"readelf -aW copied >/dev/null 2>errors && ! [ -s errors ]' $prefix
check "twice is refused" sh -c '"$1" rewrite --target native rewritten -o again; [ $? = 4 ] && ! [ -e again ]' - "$previrt"
check "--strict" sh -c '"$1" rewrite --target native --strict kernel -o again; [ $? = 1 ] && ! [ -e again ]' - "$previrt"
check "too little room" sh -c '"$1" rewrite --target native --stub-size 64 kernel -o again 2>why; [ $? = 1 ] && grep -q "the stub area is full" why' - "$previrt"
check "break" sh -c '"$1" rewrite --target break --break-number 0x1234 kernel -o broken >out && grep -Eq "^all +0 +28 +0 +0 +0$" out' - "$previrt"
check "break: nothing is left" is "$("$previrt" scan broken | sed -n '1s/.*: \([0-9]*\) sensitive.*/\1/p')" 1
for target in --target=native '--target=vcpu --vcpu-address=0xe000000000000000' --target=break; do
    # shellcheck disable=SC2086 # options
    check "no slot outside generated code that nobody knows of, by objdump: $target" "$here/rewritten" "$previrt" kernel $target
done
cat >idle <<'EOF'
#!/bin/sh
# a rewriter that forgets the sites
[ "$1" = rewrite ] || exec "$PREVIRT" "$@"
for argument; do case $argument in --output=*) cp "$annotated" "${argument#*=}" ;; esac done
EOF
chmod +x idle
check "... and one that is forgotten is found" sh -c '
    PREVIRT=$1 annotated=kernel "$2/rewritten" ./idle kernel --target=break >out; [ $? = 1 ] && grep -q "is still there" out' - "$previrt" "$here"
check "vcpu" "$previrt" rewrite --target vcpu --vcpu-address 0xe000000000000000 kernel -o virtual
check "behind the image" sh -c '"$1" rewrite --target native gated -o behind >out 2>&1 && grep -q "not reserved by the image" out' - "$previrt"
check "where it overlaps" sh -c '"$1" rewrite --target native --stub-address 0xa000000100000000 kernel -o again; [ $? = 2 ]' - "$previrt"

# ---- packing ----
if [ -e "$(dirname "$previrt")/../backends/ia64/previrt-ia64-monitor.elf" ]; then
    printf '\t.text\n\t.global start#\nstart: rsm 0x4000\n\t;;\n' >guest.s
    ${prefix}as guest.s -o guest.o && ${prefix}ld -Ttext=0x100000 -e start guest.o -o guest
    check "pack: an IA-64 guest, by its ELF header" "$previrt" pack guest -o packed
    check "pack: rewritten, and the monitor above it" sh -c '
        ${0}readelf -lW packed | grep -q "LOAD.*0x0000000008000000" && [ "$("$1" scan guest | sed -n "1s/.*: \([0-9]*\) sensitive.*/\1/p")" = 1 ]' $prefix "$previrt"
    check "pack: not for Xen" sh -c '"$1" pack --backend=xen --vmm=/dev/null guest -o none; [ $? = 3 ] && ! [ -e none ]' - "$previrt"
    check "run: not in QEMU" sh -c '"$1" run guest 2>why; [ $? = 3 ] && grep -q "IA-64 guest" why' - "$previrt"
else
    echo "skipped: packing: no IA-64 back-end beside the command"
fi

verdicts
