# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use them
# SPDX-License-Identifier: BSD-2-Clause
# What demo, check, guests/ and bench/ share: packages, builds, progress. Sourced, not run.
# The caller sets (program), the name that messages begin with.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly top
: "${program:=$(basename "$0")}" # the name that messages begin with

# Debian's own tools first: a python3 put in front of them by other means can be much slower, and meson and
# the kernel build start it often.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL=C.UTF-8

# Exit statuses, the same as the previrt command's.
readonly STATUS_FAILED=1 STATUS_USAGE=2 STATUS_ENVIRONMENT=4

# Packages that the library and the command are built and tested with (the 32-bit C library has headers that the raw
# loader needs) ...
packages_build=(build-essential meson ninja-build pkg-config libelf-dev libzydis-dev libjson-c-dev
    libcmocka-dev libunicorn-dev libxen-dev libc6-dev-i386)
# ... that the guests are built and booted with ...
packages_guest=(linux-source-6.1 xz-utils bc bison flex cpio libssl-dev qemu-system-x86 ca-certificates
    lib32gcc-12-dev jq)
# ... that the IA-64 tools are: assembler, linker and the compiler's source ...
packages_ia64=(gcc-12-source binutils-ia64-linux-gnu libgmp-dev libmpfr-dev libmpc-dev flex bison xz-utils patch)
# ... and that ./check wants on top.
packages_check=(clang ccache lld libclang-rt-14-dev clang-format llvm mandoc shellcheck git binutils-ia64-linux-gnu)

die()
{
    echo "$program: $1" >&2
    exit "${2:-$STATUS_FAILED}"
}

say()
{
    printf '%s\n' "$*"
}

# The packages among "$@" that are not installed.
missing_packages()
{
    local package
    for package in "$@"; do
        # shellcheck disable=SC2016 # the format is dpkg-query's
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            echo "$package"
    done
}

# Installs what is missing of "$@" as root, and says what to install without.
need_packages()
{
    local -a missing

    if ! command -v dpkg-query >/dev/null; then
        say "$program: this is no Debian; it needs what these packages hold: $*" >&2
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        die "packages are missing; install them as root and try again:
    apt-get update && apt-get install --no-install-recommends ${missing[*]}" "$STATUS_ENVIRONMENT"
    fi
    say "installing ${#missing[@]} packages: ${missing[*]}"
    mkdir -p "$top/build"
    # A source that is down must not stop us while the packages themselves can be had.
    apt-get update >"$top/build/apt.log" 2>&1 </dev/null ||
        say "$program: apt-get update had errors (build/apt.log); trying all the same" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
        >>"$top/build/apt.log" 2>&1 </dev/null || {
        tail -n 5 "$top/build/apt.log" >&2
        die "apt-get could not install them; all of its output is in build/apt.log" "$STATUS_ENVIRONMENT"
    }
}

# Runs "$@" with its output in a file ($1), and shows at times what ($2 arguments...) prints: on a terminal one line
# that is rewritten, elsewhere a line every half minute. Returns the command's status.
with_progress()
{
    local log=$1 describe=$2 command_pid status=0 step=0 interval=2 period=15
    shift 2
    mkdir -p "$(dirname "$log")"
    # A process group of its own, so that an interrupt ends all of it and not only its first process.
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    command_pid=$!
    set +m
    # shellcheck disable=SC2064 # the process of this call
    trap "kill -- -$command_pid 2>/dev/null; wait $command_pid 2>/dev/null; exit 130" INT TERM
    while kill -0 "$command_pid" 2>/dev/null; do
        if [ -t 1 ]; then
            printf '\r\033[K  %s' "$("$describe" "$log")"
        elif [ $((step % period)) = 0 ] && [ "$step" -gt 0 ]; then
            printf '  %s\n' "$("$describe" "$log")"
        fi
        step=$((step + 1))
        # Wakes at once when the command ends.
        sleep "$interval" &
        wait -n "$command_pid" $! 2>/dev/null || true
    done
    wait "$command_pid" || status=$?
    trap - INT TERM
    [ ! -t 1 ] || printf '\r\033[K'
    return "$status"
}

# build_previrt [DIRECTORY [MESON OPTIONS...]]: the library and the command, in DIRECTORY (build).
build_previrt()
{
    local directory=${1:-$top/build} log
    [ $# -eq 0 ] || shift
    log=$directory/build.log
    mkdir -p "$directory"
    if [ ! -f "$directory/build.ninja" ]; then
        # A set-up that failed half way leaves a folder that wants to be told so. (Not --wipe: build/ holds the guests.)
        [ ! -d "$directory/meson-private" ] || set -- --reconfigure "$@"
        meson setup "$directory" "$top" "$@" >"$log" 2>&1 </dev/null || {
            tail -n 20 "$log" >&2
            return "$STATUS_FAILED"
        }
    fi
    ninja -C "$directory" ${jobs:+-j "$jobs"} >"$log" 2>&1 </dev/null || {
        grep -E -A5 'FAILED|error:|ERROR:' "$log" | head -n 40 >&2
        say "$program: the build failed; all of its output is in ${log#"$top"/}" >&2
        return "$STATUS_FAILED"
    }
}

# Digest of files and folders under the tree, independent of where the tree stands.
digest_of()
{
    (cd "$top" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum) |
        cut -c1-16
}

# Decimal seconds from one $EPOCHREALTIME ($1) to another ($2).
seconds_between()
{
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'
}

# Where a guest's files are: guest_directory GUEST [SUFFIX...].
guest_directory()
{
    local name=$1 suffix
    shift
    for suffix in "$@"; do
        [ -z "$suffix" ] || name=$name-$suffix
    done
    echo "$top/build/guests/$name"
}

# Bytes in the executable sections of an ELF file.
executable_bytes()
{
    sections_of "$1" | awk '$4 ~ /X/ { sum += $3 } END { print sum + 0 }'
}

# Bytes in the section called ($1) of an ELF file ($2).
section_bytes()
{
    sections_of "$2" | awk -v name="$1" '$1 == name { sum += $3 } END { print sum + 0 }'
}

# NAME ADDRESS SIZE FLAGS (decimal, - for none) of each section.
sections_of()
{
    local name address size flags
    # readelf's wide table: [Nr] Name Type Addr Off Size ES Flg Lk Inf Al, and Flg may be missing.
    readelf -SW "$1" | sed -n 's/^ *\[ *[0-9]*\] //p' |
        awk 'NF >= 9 && $2 != "NULL" { print $1, $3, $5, NF == 10 ? $7 : "-" }' |
        while read -r name address size flags; do
            echo "$name $((16#$address)) $((16#$size)) $flags"
        done
}

# Records in the patch-up table of an image, dormant ones left out.
site_count()
{
    local status=0
    "$top/build/cli/previrt" audit --json "$1" >"$top/build/audit.json" || status=$?
    [ "$status" -le 1 ] || die "previrt audit of ${1#"$top"/} failed with status $status"
    jq '.records - .dormant_records' "$top/build/audit.json"
}
