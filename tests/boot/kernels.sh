# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# How the small test kernels are built; sourced.

# test_kernel OUTPUT SOURCES OFFSET [GCC-ARGUMENT...]: the kernel in folder SOURCES (start.S, kernel.c, kernel.ld of
# tests/boot/raw where it has none), linked OFFSET above its place.
test_kernel()
{
    local output=$1 sources=$2 offset=$3 file raw
    shift 3
    raw=$top/tests/boot/raw
    for file in start.S kernel.c; do
        [ -f "$sources/$file" ] || file=../raw/$file
        gcc "$@" -m32 -march=i686 -O1 -ffreestanding -fno-omit-frame-pointer -fno-pie -fno-stack-protector \
            -fcf-protection=none -fno-asynchronous-unwind-tables -mgeneral-regs-only -Wall -Wextra -Werror \
            -I"$top/include" -DOFFSET="$offset" -c "$sources/$file" -o "$output-$(basename "${file%.*}").o"
    done
    ld -m elf_i386 --no-warn-rwx-segments --defsym "OFFSET=$offset" -T "$raw/kernel.ld" "$output-start.o" \
        "$output-kernel.o" -o "$output"
}
