#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# run.sh PREVIRT SOURCE-DIRECTORY: the command's exit statuses, its JSON, and what it does with bad files and bad
# tables: one message, the right status, and nothing written. Exit status 0, 1 (a check failed).
set -u
# shellcheck source=../verdicts.sh
. "$(dirname "$0")/../verdicts.sh"
# status WANTED NAME ARGUMENT...: the command's exit status. With one other than 0 it says why on standard error.
status() {
    wanted=$1 name=$2
    shift 2
    "$previrt" "$@" >out.log 2>err.log
    got=$?
    if [ $got -ne "$wanted" ]; then
        bad "$name: status $got, not $wanted"
        head -5 err.log
    elif [ "$wanted" -gt 1 ] && ! [ -s err.log ]; then
        bad "$name: no message"
    else
        ok "$name"
    fi
}
json() { # json NAME EXPRESSION: out.log is JSON, and the Python expression about (j) is true
    if python3 -c 'import json, sys; j = json.load(open("out.log")); sys.exit(not eval(sys.argv[1]))' "$2" 2>err.log; then ok "$1"; else
        bad "$1: not $2"
        head -3 err.log
    fi
}

printf '\tcli\n' >more.s
for file in "$here/guest.s" more.s; do
    name=$(basename "$file" .s)
    "$previrt" as --32 "$file" -o "$name.o" && as --32 "$file" -o "plain-$name.o" || exit 1
done
ld -m elf_i386 -Ttext=0x100000 -e _start guest.o more.o -o guest || exit 1
ld -m elf_i386 -Ttext=0x100000 -e _start plain-guest.o plain-more.o -o plain || exit 1

# ---- usage and environment ----
status 2 "no verb"
status 2 "an unknown verb" frobnicate
for verb in scan audit rewrite "table dump" ops; do
    # shellcheck disable=SC2086
    status 2 "$verb: an unknown option" $verb --frobnicate guest
    [ "$verb" = ops ] && continue
    # shellcheck disable=SC2086
    status 2 "$verb: no file" $verb
done
status 2 "rewrite: an unknown target" rewrite --target nonsense guest -o none
status 2 "rewrite: no target" rewrite guest -o none
status 2 "table: an unknown action" table frobnicate guest
printf 'not ELF at all' >text
: >empty
head -c 200 guest >./cut
for verb in scan audit "table dump" "table verify"; do
    # shellcheck disable=SC2086
    {
        status 4 "$verb: no such file" $verb missing
        status 3 "$verb: a text" $verb text
        status 3 "$verb: an empty file" $verb empty
        status 3 "$verb: a cut file" $verb cut
    }
done
status 4 "rewrite: no such file" rewrite --target native missing -o none
status 3 "rewrite: a text" rewrite --target native text -o none
status 3 "rewrite: a cut file" rewrite --target native cut -o none
status 3 "pack: a text" pack text -o none
status 3 "pack: a cut file" pack cut -o none
head -c 80 guest >headers
status 3 "pack: cut in its headers" pack headers -o none
# e_phnum 0
cp guest bare && printf '\000' | dd of=bare bs=1 seek=44 conv=notrunc 2>/dev/null
status 3 "pack: no segments" pack bare -o none
status 4 "rewrite: nowhere to write" rewrite --target native guest -o missing/none
[ ! -e none ] && ok "nothing was written" || bad "something was written"

# ---- findings ----
status 0 "audit: nothing missed" audit guest
status 1 "audit: all missed" audit plain
grep -q '^missed *\.text 0x00100000 <_start+0x0> *cli' out.log && ok "with symbol and offset" || bad "with symbol and offset"
status 4 "pack: no VMM" pack --vmm missing guest -o none
if grep -q warning err.log; then bad "pack: a warning without a cause"; else ok "pack: no warning"; fi
status 4 "pack: no VMM, no table" pack --vmm missing plain -o none
if grep -q 'warning: plain: 11 .* 7 will be emulated when they trap, 2 do not trap, 2 Xen' err.log; then ok "pack: a warning"; else
    bad "pack: not the right warning"
    cat err.log
fi
status 0 "scan" scan plain guest
status 0 "verify" table verify guest
status 0 "dump" table dump guest
status 3 "dump: no table" table dump plain
status 3 "rewrite: no table" rewrite --target native plain -o none
status 0 "rewrite" rewrite --target native guest -o native
status 0 "rewrite, vcpu" rewrite --target vcpu guest -o vcpu
status 1 "verify: rewritten" table verify native

# ---- JSON ----
status 0 "scan --json" scan --json guest
json "counts" 'j["sites"] == 11 and j["operations"]["cli"] == 2 and j["files"][0]["operations"]["lidt"] == 1'
status 0 "audit --json" audit --json guest
json "verdicts" 'j["findings"] is False and j["totals"]["annotated"] == 11 and j["totals"]["missed"] == 0 and j["records"] == 10'
status 1 "audit --json, with findings" audit --json plain
json "what was missed" 'j["findings"] is True and j["totals"]["missed"] == 11 and j["sites"][0]["symbol"] == "_start"'
status 0 "dump --json" table dump --json guest
json "records" 'j["sites"] == 10 and len(j["records"]) == 10 and j["records"][0]["op"] == "cli"'
status 0 "verify --json" table verify --json guest
json "it is well" 'j["ok"] is True and j["faults"] == []'
status 1 "verify --json, with faults" table verify --json native
json "it is not" 'j["ok"] is False and len(j["faults"]) > 0'
status 0 "ops --json" ops --json
json "the catalogue" 'len(j) > 0'

# ---- a corpus of bad tables ----
# Offsets in the note (docs/table-format.md): 20 version, 21 architecture, 22 count, 24 digest, 28 anchor, 32 sites of
# the run, 33 the first record: gap, form, lengths, operand; 37 the second.
notes=$(readelf -SW guest | sed -n 's/.* \.note\.previrt *NOTE *[0-9a-f]* \([0-9a-f]*\) .*/\1/p')
notes=$((0x$notes))
text=$(readelf -SW guest | sed -n 's/.* \.text *PROGBITS *[0-9a-f]* \([0-9a-f]*\) .*/\1/p')
text=$((0x$text))
poke() { # poke FILE OFFSET OCTAL...
    file=$1 offset=$2
    shift 2
    printf '%b' "$(printf '\\0%s' "$@")" | dd of="$file" bs=1 seek="$offset" conv=notrunc 2>/dev/null
}
# refused NAME STATUS VERIFY MESSAGE OFFSET OCTAL...: guest with these bytes in its file: the statuses of rewrite and
# verify, and what rewrite says
refused() {
    name=$1 wanted=$2 verify=$3 message=$4
    shift 4
    cp guest damaged
    poke damaged "$@"
    cmp -s guest damaged && bad "$name: nothing was damaged"
    cp damaged before
    status "$wanted" "$name: rewrite" rewrite --target native damaged -o none
    grep -q "$message" err.log || {
        bad "$name: the message is not about '$message'"
        head -3 err.log
    }
    cmp -s damaged before || bad "$name: the file was changed"
    if [ -e none ]; then
        bad "$name: something was written"
        rm none
    fi
    status "$verify" "$name: verify" table verify damaged
}
# the anchor of the second fragment, 72 bytes further, is the address of its cli minus the anchor's: to the first cli
start=0x$(nm guest | sed -n 's/ T _start//p')
anchor=0x$(readelf -SW guest | sed -n 's/.* \.note\.previrt *NOTE *\([0-9a-f]*\) .*/\1/p')
# shellcheck disable=SC2046
refused "overlap" 1 1 'overlap' $((notes + 100)) $(
    value=$(((start - anchor - 100) & 0xffffffff))
    printf '%o %o %o %o' $((value & 255)) $((value >> 8 & 255)) $((value >> 16 & 255)) $((value >> 24))
)
refused "out of the section" 1 1 'outside' $((notes + 30)) 0
refused "wrong bytes in the text" 1 1 'not those recorded' $((text + 6)) 373
refused "room too large" 1 1 'NOP' $((notes + 35)) 47
refused "another form" 1 1 'not those recorded' $((notes + 34)) 2
refused "wrong digest" 3 1 'digest' $((notes + 24)) 0
refused "unknown architecture" 3 3 'architecture' $((notes + 21)) 3
refused "another architecture" 1 3 'architecture' $((notes + 21)) 2
refused "newer version" 3 3 'version' $((notes + 20)) 2
refused "count too large" 3 3 'malformed' $((notes + 22)) 12
refused "truncated: descriptor" 3 3 'too early' $((notes + 4)) 20
refused "truncated: beyond the section" 3 3 'too early' $((notes + 5)) 1
refused "unfinished" 3 3 'finished' $((notes + 8)) 2

# The names of sections are in section 0, which is nowhere: e_shstrndx; its sh_offset and sh_size.
headers=$(readelf -hW guest | sed -n 's/.*Start of section headers: *\([0-9]*\) .*/\1/p')
cp guest damaged
poke damaged 50 0 0
poke damaged $((headers + 16)) 0 0 0 20 377 377 377 17
status 3 "section names nowhere: rewrite" rewrite --target native damaged -o none

verdicts
