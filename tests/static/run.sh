#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# run.sh PREVIRT TEST_STATIC SOURCE-DIRECTORY: builds the small guest as it is and in both static modes, and has
# test_static run and compare them. Exit status 0, 1, 77 (no IA32 compiler).
set -eu
previrt=$(realpath "$1") runner=$(realpath "$2") here=$(realpath "$3")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset PREVIRT_AS PREVIRT_AS_OPTIONS PREVIRT_RULES

if ! echo 'int x;' | gcc -m32 -c -x c - -o probe.o 2>/dev/null; then
    echo "skipped: gcc -m32 does not work here"
    exit 77
fi
"$runner" --stubs >stubs
for mode in plain native vcpu; do
    case $mode in
    plain) compiler=gcc ;;
    *) compiler="$previrt cc --static $mode gcc" ;;
    esac
    for source in entry.S work.c; do
        $compiler -m32 -O2 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -mno-sse -c "$here/$source" -o "$mode-$source.o"
    done
    options=-static
    [ $mode != vcpu ] || options=@stubs
    ld -m elf_i386 -N -Ttext=0x100000 -Tdata=0x400000 --no-warn-rwx-segments -z noexecstack -e entry "$options" -o "$mode.elf" "$mode-entry.S.o" "$mode-work.c.o"
done
"$runner" plain.elf native.elf vcpu.elf
# and it tells: a guest that was not built for its mode is found out
for wrong in "plain.elf plain.elf vcpu.elf" "plain.elf native.elf plain.elf"; do
    # shellcheck disable=SC2086
    if "$runner" $wrong >wrong.log; then
        echo "FAILED: accepted $wrong"
        exit 1
    fi
done
