#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# offsets.sh HEADER COMPILER ARGUMENT...: compiles to assembler text and makes #define lines of the marked ones.
set -eu
header=$1
shift
text=$("$@" -S -o -)
printf '%s\n' "$text" | sed -n 's/^->\([A-Z0-9_]*\) [$]*\([0-9]*\)/#define \1 \2/p' >"$header"
