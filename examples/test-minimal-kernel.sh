#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# test-minimal-kernel.sh PREVIRT EXAMPLES: the example builds with make and Meson, the audit finds nothing, and it
# runs. Exit status 0, 1, or 77 (no IA32 compiler).
set -u
previrt=$(realpath "$1") examples=$(realpath "$2")
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT
if ! echo 'int x;' | gcc -m32 -c -x c - -o "$work/probe.o" 2>/dev/null; then
    echo "skipped: gcc -m32 does not work here"
    exit 77
fi
cp -r "$examples/minimal-kernel" "$work/k" && cd "$work/k" || exit 4
make -s CC="$previrt cc gcc" || { echo "make failed"; exit 1; }
"$previrt" audit kernel.elf >audit.log || { cat audit.log; echo "the audit failed"; exit 1; }
tail -1 audit.log
if command -v meson >/dev/null && command -v ninja >/dev/null; then
    CC="$previrt cc gcc" meson setup build >meson.log 2>&1 && ninja -C build >>meson.log 2>&1 ||
        { tail -20 meson.log; echo "meson failed"; exit 1; }
    "$previrt" audit build/kernel.elf >audit.log || { cat audit.log; exit 1; }
else
    echo "skipped: no Meson"
fi
# static mode, the target that performs every operation out of line
mkdir native && cp boot.S kernel.c kernel.ld Makefile native/
make -s -C native CC="$previrt cc --static native gcc" || { echo "make with --static native failed"; exit 1; }
if command -v qemu-system-i386 >/dev/null; then
    for kernel in kernel.elf build/kernel.elf native/kernel.elf; do
        [ -f $kernel ] || continue
        rm -f "$work/serial"
        timeout 60 qemu-system-i386 -accel tcg -m 32 -nodefaults -display none -no-reboot -serial "file:$work/serial" \
            -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel $kernel
        if ! grep -q 'three ticks' "$work/serial"; then
            echo "$kernel does not run: $(cat "$work/serial")"
            exit 1
        fi
    done
    echo "runs"
else
    echo "skipped: no qemu-system-i386"
fi
