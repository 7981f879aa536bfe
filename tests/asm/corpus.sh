#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# corpus.sh PREVIRT DIRECTORY [OPTION...]: assembles every NAME.s in DIRECTORY, with the arguments in NAME.args
# (as a wrapper around `as' recorded them), with GNU as and with `previrt as OPTION...', and compares the code:
# it must be the same but for redundant prefixes and NOPs. Prints what differs and a summary.
set -u
previrt=$1 directory=$2
shift 2
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT
files=0 same=0 other=0 failed=0 different=0

# Code without addresses, redundant DS prefixes and NOPs; relocations without offsets; what a relocation is
# added to (an offset in a section, when the symbol is local) without its value.
normalize() {
    objdump -dr --no-show-raw-insn "$1" 2>/dev/null | sed -E '
        1,3d
        /^[0-9a-f]+ </s/^[0-9a-f]+ //
        s/^ *[0-9a-f]+:\t//
        s/^\t+[0-9a-f]+: (R_[^\t]*)\t/\1 /
        s/(ds )+//; s/^ss (.*%ss)$/\1/
        s/%(ds|ss):(0x[0-9a-f]+)?\(/\2(/
        s/[0-9a-f]+ <[^>]*>/TARGET/
        /^(nop[wl]?( .*)?|xchg +%ax,%ax|data16 nop|.*lea[wl]? +(%[a-z]s:)?0x0\(%esi.*\),%esi)$/d
        s/ +/ /g
        s/ $//' | awk '
        /^R_386/ { gsub(/0x[0-9a-f]+/, "N", line); sub(/\+0x.*|-0x.*/, "") }
        { if (NR > 1) print line; line = $0 }
        END { print line }'
}

for source in "$directory"/*.s; do
    arguments=${source%.s}.args
    [ -f "$arguments" ] || continue
    files=$((files + 1))
    words=
    skip=
    for word in $(cat "$arguments"); do
        if [ -n "$skip" ]; then
            [ "$skip" = -o ] && output=$word
            [ "$skip" = -I ] && words="$words -I $word"
            skip=
            continue
        fi
        case $word in
        -o | -I | -MD | --MD) skip=$word ;;
        -*) words="$words $word" ;;
        esac
    done
    mkdir -p "$work/b/$(dirname "$output")" "$work/a"
    # shellcheck disable=SC2086
    as $words -o "$work/a/x.o" "$source" >"$work/a.log" 2>&1
    expected=$?
    # the rules look at the output's path, so it has to be the one that the kernel build used
    # shellcheck disable=SC2086
    (cd "$work/b" && "$previrt" as "$@" $words -o "$output" "$source") >"$work/b.log" 2>&1
    got=$?
    if [ $expected -ne $got ]; then
        failed=$((failed + 1))
        echo "$source: exit status $got, not $expected ($output)"
        head -5 "$work/b.log"
        continue
    fi
    if ! cmp -s "$work/a.log" "$work/b.log"; then
        echo "$source: other messages"
        diff "$work/a.log" "$work/b.log" | head -5
        failed=$((failed + 1))
        continue
    fi
    [ $expected -eq 0 ] || continue
    [ -f "$work/b/$output" ] || continue
    if cmp -s "$work/a/x.o" "$work/b/$output"; then
        same=$((same + 1))
    else
        other=$((other + 1))
        normalize "$work/a/x.o" >"$work/a.txt"
        normalize "$work/b/$output" >"$work/b.txt"
        if ! cmp -s "$work/a.txt" "$work/b.txt"; then
            different=$((different + 1))
            echo "$source: the code differs ($output)"
            diff "$work/a.txt" "$work/b.txt" | head -6
        fi
    fi
    rm -f "$work/b/$output"
done
echo "$files inputs: $same unchanged, $other annotated ($different with different code), $failed failed"
[ "$files" -gt 0 ] && [ $failed -eq 0 ] && [ $different -eq 0 ]
