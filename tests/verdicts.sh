# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# What the scripts of checks share; sourced with PREVIRT and SOURCE-DIRECTORY as arguments. Leaves the script in an empty folder
# (work) with the command (previrt) and the sources (here); `verdicts` at the end prints the sum, and is the exit status.
# shellcheck disable=SC2034 # for the scripts
previrt=$(realpath "$1") here=$(realpath "$2")
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 4
unset PREVIRT_AS PREVIRT_AS_OPTIONS PREVIRT_RULES COLLECT_GCC
failures=0 checks=0

ok() { checks=$((checks + 1)); echo "ok: $1"; }
bad() {
    checks=$((checks + 1))
    failures=$((failures + 1))
    echo "FAILED: $1"
}
check() { # check NAME COMMAND...: the command has to succeed
    name=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then ok "$name"; else
        bad "$name"
        sed 's/^/    /' "$work/check.log" | head -20
    fi
}
verdicts() {
    echo "$checks checks, $failures failed"
    [ "$failures" -eq 0 ]
}
