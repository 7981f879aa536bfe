#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# tests/boot/raw.sh [BUILD]: the raw back-end. Guests that run unrewritten and fully rewritten on the bare (emulated)
# machine must behave the same. BUILD is the build folder (default: build).
#
#   1. a kernel that executes the sensitive operations one by one (tests/boot/raw), plain and afterburnt
#   2. what must be refused: no table, a damaged table, text that is not what the table says
#   3. afterburnt Linux, if BUILD/guests/linux-ia32-pae/vmlinux is there: rewritten in memory and offline
#
# Prints one line a check. Status 0: all as it should be; 1: not; 4: something is missing.
set -euo pipefail
program=tests/boot/raw.sh
# shellcheck source=../../tools/common.sh
. "$(dirname "$0")/../../tools/common.sh"
# shellcheck source=kernels.sh
. "$(dirname "$0")/kernels.sh"

build=$(cd "${1:-$top/build}" && pwd)
previrt=$build/cli/previrt
source=$top/tests/boot/raw
timeout=${PREVIRT_BOOT_TIMEOUT:-120}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

for file in "$previrt" "$build/backends/raw/previrt-raw" "$build/libexec/previrt/as"; do
    [ -x "$file" ] || die "no $file: build first" "$STATUS_ENVIRONMENT"
done
command -v qemu-system-i386 >/dev/null || die "no qemu-system-i386: install qemu-system-x86" "$STATUS_ENVIRONMENT"

good() { echo "ok   $*"; }
bad() {
    echo "FAIL $*"
    failures=$((failures + 1))
}

# boot LOG KERNEL ARGUMENT...: the console goes to $work/LOG; its status
boot() {
    local log=$work/$1 status=0
    shift
    "$previrt" run --timeout "$timeout" "$@" </dev/null >"$log" 2>&1 || status=$?
    sed -i 's/\r//' "$log"
    return $status
}

# expect WHAT LOG STATUS PATTERN KERNEL ARGUMENT...: boots; the status and a line of the console must be these
expect() {
    local what=$1 log=$2 wanted=$3 pattern=$4 status=0
    shift 4
    boot "$log" "$@" || status=$?
    if [ $status = "$wanted" ] && grep -q -- "$pattern" "$work/$log"; then
        good "$what"
    else
        bad "$what: status $status, not $wanted, or no line '$pattern'; the console:"
        tail -n 25 "$work/$log" | sed 's/^/    /'
    fi
}

verdicts() {
    grep -E '^(not )?ok ' "$work/$1"
}

# same WHAT REFERENCE LOG: the verdicts of both consoles are the same
same() {
    if diff <(verdicts "$2") <(verdicts "$3") >"$work/diff"; then
        good "$1: $(verdicts "$3" | grep -c '^ok') verdicts, all as plain"
    else
        bad "$1: other verdicts than the plain kernel"
        sed 's/^/    /' "$work/diff"
    fi
}

# The kernel at physical addresses, and one that turns on paging and runs 3 GiB above them.
for variant in "flat 0" "high 0xc0000000"; do
    read -r name offset <<<"$variant"
    test_kernel "$work/plain-$name" "$source" "$offset"
    test_kernel "$work/burnt-$name" "$source" "$offset" -B "$build/libexec/previrt"
    passed='^raw-kernel: passed'
    expect "$name kernel, plain" "plain-$name.log" 0 "$passed" --rewrite none "$work/plain-$name"
    expect "$name kernel, afterburnt" "burnt-$name.log" 0 "$passed" --rewrite none "$work/burnt-$name"
    same "$name kernel, afterburnt" "plain-$name.log" "burnt-$name.log"
    expect "$name kernel, rewritten" "native-$name.log" 0 "$passed" --verify "$work/burnt-$name"
    same "$name kernel, rewritten" "plain-$name.log" "native-$name.log"
    expect "$name kernel, rewritten again after a revert" "again-$name.log" 0 \
        '^previrt-raw: reverted, all bytes as in the file' --verify --revert "$work/burnt-$name"
    same "$name kernel, rewritten again" "plain-$name.log" "again-$name.log"
    expect "$name kernel, reverted" "reverted-$name.log" 0 "$passed" --rewrite none --revert "$work/burnt-$name"
    same "$name kernel, reverted" "plain-$name.log" "reverted-$name.log"
done
cp "$work/burnt-flat" "$work/burnt"
cp "$work/plain-flat" "$work/plain"
expect "rewritten, on a CPU with NX, SMAP, MONITOR and RDTSCP, which it does not see" max.log 0 \
    '^features 00000000 00000000 00000000' --cpu max "$work/burnt"
expect "not rewritten, it sees them" max-none.log 0 '^features 0000000. 00100000 08100000' --cpu max --rewrite none \
    "$work/burnt"

expect "no table: refused" refused.log 3 'refused: .*there is no patch-up table' "$work/plain"
# Offset and size of a section of the afterburnt kernel
section() {
    local name offset size
    while read -r name _ _ offset size _; do
        [ "$name" != "$1" ] || echo $((16#$offset)) $((16#$size))
    done < <(readelf -SW "$work/burnt" | sed 's/^ *\[ *[0-9]*\] *//')
}
# poke FILE OFFSET: inverts a byte
poke() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N1 "$1")
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\x$(printf %x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
read -r notes_offset notes_size < <(section .notes)
damaged=0 caught=0
# The note's name is left alone: a note of another name is not ours, and skipped.
for step in 4 8 20 21 24 28 29 40 101 $((notes_size / 2)) $((notes_size - 8)); do
    cp "$work/burnt" "$work/damaged"
    poke "$work/damaged" $((notes_offset + step))
    status=0
    boot damaged.log "$work/damaged" || status=$?
    damaged=$((damaged + 1))
    case $status in
    1 | 3) grep -q '^previrt-raw: refused: ' "$work/damaged.log" && caught=$((caught + 1)) ;;
    *) echo "     byte $step of the notes inverted: status $status" ;;
    esac
done
if [ $caught = $damaged ]; then
    good "$damaged damaged tables: all refused"
else
    bad "$damaged damaged tables: $caught refused"
fi
head -c $((notes_offset + notes_size / 2)) "$work/burnt" >"$work/cut"
expect "a file that ends too early: refused" cut.log 3 '^previrt-raw: refused: ' "$work/cut"

if "$previrt" rewrite --help >/dev/null 2>&1; then
    if "$previrt" rewrite --target native -o "$work/offline" "$work/burnt" >"$work/rewrite.log" 2>&1; then
        # No monitor there: what looks at the address of faults and traps is left out.
        expect "test kernel, rewritten offline" offline.log 0 '^raw-kernel: passed' --rewrite none \
            --append nomonitor "$work/offline"
    else
        bad "previrt rewrite: $(tail -n 3 "$work/rewrite.log")"
    fi
else
    echo "SKIP rewritten offline: this build has no previrt rewrite"
fi

vmlinux=$build/guests/linux-ia32-pae/vmlinux
if [ ! -r "$vmlinux" ]; then
    echo "SKIP Linux: no $vmlinux (guests/build linux-ia32-pae makes it)"
else
    # One static program as init: says that it runs, and resets the machine.
    gcc -m32 -static -nostdlib -ffreestanding -fno-pie -no-pie -fno-stack-protector -O1 "$source/init.c" -o "$work/init"
    mkdir -p "$work/root/dev"
    cp "$work/init" "$work/root/init"
    mknod "$work/root/dev/console" c 5 1 2>/dev/null || echo "     no /dev/console in the RAM disk: not root"
    (cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -9) >"$work/initrd.gz"
    linux=(--initrd "$work/initrd.gz" --append "console=ttyS0 reboot=t panic=-1")
    expect "Linux, afterburnt, not rewritten" linux.log 0 '^raw-init: ' --rewrite none "${linux[@]}" "$vmlinux"
    expect "Linux, rewritten" linux-native.log 0 '^raw-init: ' --verify --revert "${linux[@]}" "$vmlinux"
    grep -h '^previrt-raw: .* sites' "$work/linux-native.log" | sed 's/^/     /' || true
    expect "Linux, rewritten, 64 MB" linux-64.log 0 '^raw-init: ' --mem 64 "${linux[@]}" "$vmlinux"
    expect "Linux, rewritten, 1024 MB, newest CPU" linux-max.log 0 '^raw-init: ' --mem 1024 --cpu max "${linux[@]}" \
        "$vmlinux"
    if "$previrt" rewrite --help >/dev/null 2>&1; then
        if "$previrt" rewrite --target native -o "$work/offline" "$vmlinux" >"$work/rewrite.log" 2>&1; then
            expect "Linux, rewritten offline" linux-offline.log 0 '^raw-init: ' --rewrite none "${linux[@]}" \
                "$work/offline"
        else
            bad "previrt rewrite of Linux: $(tail -n 3 "$work/rewrite.log")"
        fi
    fi
fi

[ $failures = 0 ] || exit "$STATUS_FAILED"
