#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# run.sh PREVIRT SOURCE-DIRECTORY: `previrt as' and `previrt cc' on code and build systems that know nothing of
# them. Every check compares with GNU as or gcc alone. Exit status 0, 1 (a check failed), 77 (no IA32 compiler).
set -u
# shellcheck source=../verdicts.sh
. "$(dirname "$0")/../verdicts.sh"
skip() { echo "skipped: $1"; }

annotated() { readelf -SW "$1" | grep ' \.note\.previrt ' >/dev/null; }
sites() { objdump -d "$1" | grep -cE '\b(cli|sti|hlt|pushf|popf|in|out|rdtsc|cpuid|rdmsr)\b'; }

if ! echo 'int x;' | gcc -m32 -c -x c - -o probe.o 2>/dev/null; then
    echo "skipped: gcc -m32 does not work here"
    exit 77
fi

# ---- the same code but for pads ----
mkdir same
gcc -E "$here/boot.S" -o same/boot.s
gcc -m32 -O2 -S "$here/inline.c" -o same/inline.s
gcc -m32 -O3 -ffunction-sections -fdata-sections -g -S "$here/inline.c" -o same/inline-O3.s
gcc -m32 -O0 -S -masm=intel -x c /dev/null -o same/empty.s
cp "$here/shadow.s" same/
for name in boot inline inline-O3 empty shadow; do echo "--32 -o $name.o $name.s" >same/$name.args; done
if command -v clang >/dev/null; then
    clang --target=i386-linux-gnu -O2 -fno-integrated-as -S "$here/inline.c" -o same/clang.s && echo "--32 -o clang.o clang.s" >same/clang.args
    clang --target=i386-linux-gnu -O1 -g -fno-integrated-as -S "$here/inline.c" -o same/clang-g.s && echo "--32 -o clang-g.o clang-g.s" >same/clang-g.args
else
    skip "clang -S output: no clang"
fi
for options in --pad=prefix --pad=nop "--pad=nop --cpu=i686" --cpu=i486 "--cpu=i586 --pad=nop"; do
    # shellcheck disable=SC2086
    check "same code but for pads, $options" "$here/corpus.sh" "$previrt" "$work/same" $options
done

# ---- interrupt shadows ----
for options in --pad=prefix --pad=nop "--pad=nop --cpu=i686" --cpu=i486 "--cpu=i586 --pad=nop"; do
    # shellcheck disable=SC2086
    "$previrt" as $options --32 "$here/shadow.s" -o shadow.o || bad "shadow.s assembles with $options"
    objdump -d --no-show-raw-insn shadow.o | sed -E '1,/<\.text>/d; s/^ *[0-9a-f]+:\t//; s/\b(ds|ss) //g' >shadow.txt
    # behind each of them stands hlt, sysexit or mwait, and nothing in between
    awk -v want=12 '/^[^ ]* *(sti|pop +%ss)|^(sti|pop +%ss)|mov.*,%ss/ { holds = 1; n++; next }
         holds { if ($0 !~ /hlt|sysexit|mwait/) { print "behind a shadow: " $0; exit 1 } holds = 0 }
         END { if (n != want) { print n " shadows, not " want; exit 1 } }' shadow.txt >shadow.log
    if [ -s shadow.log ]; then bad "shadows with $options: $(cat shadow.log)"; else ok "shadows with $options"; fi
done

# ---- messages and exit statuses ----
mkdir "a dir"
printf '\tcli\n\tsti; hlt\n\tbogus %%eax\n\tnop nop\n' >"a dir/bad file.s"
printf '# 1 "orig.S"\n\tcli\n# 41 "inc.h" 1\n\tbogus\n' >marked.s
printf '\tcli\n\t.if 1\n\tnop\n' >unclosed.s
printf '\tcli\n\t.warning "careful"\n' >warning.s
for input in "a dir/bad file.s" marked.s unclosed.s warning.s missing.s; do
    as --32 -o x.o "$input" >expected.log 2>&1
    expected=$?
    "$previrt" as --32 -o y.o "$input" >got.log 2>&1
    got=$?
    if [ $expected -eq $got ] && cmp -s expected.log got.log; then ok "messages for $input"; else
        bad "messages for $input ($got, not $expected)"
        diff expected.log got.log
    fi
    [ $expected -eq 0 ] || [ ! -e y.o ] || bad "an object was left for $input"
    rm -f x.o y.o
done
as --32 -o x.o <"a dir/bad file.s" >expected.log 2>&1
"$previrt" as --32 -o x.o <"a dir/bad file.s" >got.log 2>&1
check "messages for standard input" cmp expected.log got.log
cat >bad.c <<'END'
void f(void)
{
    __asm__("cli");
    __asm__("cli\n\tbogus");
}
END
gcc -m32 -c bad.c -o x.o 2>expected.log
"$previrt" cc gcc -m32 -c bad.c -o x.o 2>got.log
sed -i 's,/tmp/cc[A-Za-z0-9]*,T,' expected.log got.log
check "messages for C" cmp expected.log got.log

# ---- ways of naming inputs and outputs ----
printf '\tcli\n' >"a dir/in put.s"
check "paths with spaces" "$previrt" as --32 "a dir/in put.s" -o "a dir/out put.o"
check "and that was annotated" annotated "a dir/out put.o"
printf '\tcli\n' | "$previrt" as --32 - -o dash.o
check "- is standard input" annotated dash.o
printf '\tcli\n' | "$previrt" as -o none.o --32
check "no name is standard input" annotated none.o
printf '\tnop\n' | "$previrt" as -o plain.o --32
check "standard input without sites" sh -c 'objdump -d plain.o | grep -q nop && ! readelf -SW plain.o | grep -q previrt'
printf '\tcli\n' >one.s
printf 'two:\tsti\n' >two.s
"$previrt" as --32 one.s two.s -o several.o
check "several inputs" sh -c 'objdump -d several.o | grep -q cli && objdump -d several.o | grep -q sti'
printf '%s\n' '--32 -o "a dir/from file.o"' "'a dir/in put.s'" >arguments
check "@file" "$previrt" as @arguments
check "and that was annotated too" annotated "a dir/from file.o"
(cd "a dir" && rm -f a.out && "$previrt" as --32 "in put.s")
check "a.out" annotated "a dir/a.out"
check "/dev/null in and out" "$previrt" as --32 -o /dev/null /dev/null
check "-o /dev/null" "$previrt" as --32 -o /dev/null one.s
[ -c /dev/null ] && ok "/dev/null is still there" || bad "/dev/null is gone"
check "--version is the assembler's" sh -c '[ "$("$1" as --version)" = "$(as --version)" ]' sh "$previrt"
check "--64 passes through" sh -c '"$1" as --64 one.s -o w.o && as --64 one.s -o v.o && cmp v.o w.o' sh "$previrt"
"$previrt" as --32 -aln one.s -o x.o >got.log
check "listings" grep -q '0000 3E3E3E3E.*cli' got.log
as --32 --MD expected.d one.s -o x.o
"$previrt" as --32 --MD got.d one.s -o x.o
check "--MD" cmp expected.d got.d
rm -f x.o
PREVIRT_AS=/nonexistent "$previrt" as --32 one.s -o x.o 2>got.log
[ $? -eq 4 ] && [ ! -e x.o ] && ok "no assembler: 4" || bad "no assembler: 4"
printf '#!/bin/sh\nkill -9 $$\n' >killed
chmod +x killed
(PREVIRT_AS=$work/killed "$previrt" as --32 one.s -o x.o) 2>/dev/null
[ $? -eq 137 ] && ok "killed like the assembler" || bad "killed like the assembler"
mkdir path
ln -s "$previrt" path/as
check "never runs itself" sh -c 'PATH=$1/path:$PATH; as --32 one.s -o x.o && readelf -SW x.o | grep -q previrt' sh "$work"
"$previrt" as --pad=wide --32 one.s -o x.o 2>got.log
[ $? -eq 2 ] && grep -q 'pad.*wide' got.log && ok "unknown --pad: 2" || bad "unknown --pad: 2"
printf 'rule a\n  output *\n' >bad.rules
"$previrt" as --rules bad.rules --32 one.s -o x.o 2>got.log
[ $? -eq 3 ] && grep -q 'bad.rules:3' got.log && ok "bad rules: 3, with the line" || bad "bad rules: 3, with the line"
printf 'rule all\n  output *x.o\n  action exclude\n  reason test\n' >all.rules
rm -f x.o
PREVIRT_RULES=all.rules "$previrt" as --32 one.s -o x.o
check "rules exclude by output" sh -c 'objdump -d x.o | grep -q cli && ! readelf -SW x.o | grep -q previrt'

# ---- compilers and build systems ----
check "gcc" "$previrt" cc gcc -m32 -O2 -c "$here/inline.c" -o i.o
check "gcc's output is annotated" annotated i.o
check "gcc -pipe" "$previrt" cc gcc -m32 -pipe -O2 -c "$here/inline.c" -o p.o
check "which makes no difference" sh -c 'objdump -d i.o | tail -n +4 >a && objdump -d p.o | tail -n +4 >b && cmp a b'
gcc -m32 -g -O2 -c "$here/inline.c" -o g0.o
"$previrt" cc gcc -m32 -g -O2 -c "$here/inline.c" -o g1.o
# every line in the same order; addresses move
for o in g0 g1; do objdump --dwarf=decodedline $o.o | awk '$1 ~ /\.c$/ && $2 != "-" { print $1, $2 }' >$o.lines; done
check "line numbers of -g" cmp g0.lines g1.lines
gcc -m32 -g -c "$here/boot.S" -o s0.o
"$previrt" cc gcc -m32 -g -c "$here/boot.S" -o s1.o
for o in s0 s1; do objdump --dwarf=info $o.o | grep -E 'DW_AT_(name|comp_dir)' | sed 's/offset: [^)]*//' >$o.names; done
check "names in -g of assembler source" cmp s0.names s1.names
for o in s0 s1; do objdump --dwarf=decodedline $o.o | awk '$1 ~ /\.S$/ && $2 != "-" { print $2 }' | uniq >$o.lines; done
check "line numbers of -g of assembler source" cmp s0.lines s1.lines
"$previrt" cc gcc -m32 -g -gdwarf-2 -c "$here/inline.c" -o g2.o
check "every site begins a line or lies in one" sh -c 'objdump -dl g2.o >/dev/null'
check "-MD through cc" sh -c '"$1" cc gcc -m32 -MD -MF x.d -c "$2" -o x.o && grep -q inline.c x.d' sh "$previrt" "$here/inline.c"
check "-E" sh -c 'echo "int x;" | "$1" cc gcc -m32 -E - | grep -q "int x"' sh "$previrt"
check "-print-file-name" sh -c '[ "$("$1" cc gcc -print-libgcc-file-name)" = "$(gcc -print-libgcc-file-name)" ]' sh "$previrt"
check "-print-prog-name=as is ours" sh -c '"$1" cc gcc -print-prog-name=as | grep -q previrt' sh "$previrt"
check "--version through cc" sh -c '[ "$("$1" cc gcc --version)" = "$(gcc --version)" ]' sh "$previrt"
check "-x c -" sh -c 'echo "void f(void) { __asm__(\"cli\"); }" | "$1" cc gcc -m32 -c -x c - -o x.o && readelf -SW x.o | grep -q previrt' sh "$previrt"
check "options travel" sh -c '"$1" cc --pad=nop --cpu=i486 gcc -m32 -c "$2" -o x.o && ! objdump -d x.o | grep -q "ds ds.*cli"' sh "$previrt" "$here/inline.c"
"$previrt" cc --nonsense gcc -c x.c 2>/dev/null
[ $? -eq 2 ] && ok "unknown option of cc: 2" || bad "unknown option of cc: 2"
"$previrt" cc /nonexistent/gcc -c x.c 2>/dev/null
[ $? -eq 4 ] && ok "no compiler: 4" || bad "no compiler: 4"
echo 'int f(void) { return 1 }' >syntax.c
gcc -m32 -c syntax.c 2>/dev/null
expected=$?
"$previrt" cc gcc -m32 -c syntax.c 2>/dev/null
[ $? -eq $expected ] && ok "the compiler's exit status" || bad "the compiler's exit status"
if command -v clang >/dev/null; then
    check "clang" "$previrt" cc clang --target=i386-linux-gnu -O2 -c "$here/inline.c" -o c.o
    check "clang's output is annotated" annotated c.o
    check "clang -g" "$previrt" cc clang --target=i386-linux-gnu -g -O2 -c "$here/inline.c" -o cg.o
else
    skip "clang: not installed"
fi
if command -v ccache >/dev/null; then
    CCACHE_DIR=$work/ccache
    export CCACHE_DIR
    check "ccache" "$previrt" cc ccache gcc -m32 -O2 -c "$here/inline.c" -o cc1.o
    check "ccache again" "$previrt" cc ccache gcc -m32 -O2 -c "$here/inline.c" -o cc2.o
    check "the same from the cache" sh -c 'cmp cc1.o cc2.o && readelf -SW cc2.o | grep -q previrt'
    check "and it did come from there" sh -c 'ccache --print-stats | grep -qx "direct_cache_hit	1"'
    # what an object depends on besides the compiler and its command line
    check "ccache, other options" "$previrt" cc --pad=nop ccache gcc -m32 -O2 -c "$here/inline.c" -o cc3.o
    check "are another object" sh -c '! cmp -s cc1.o cc3.o'
    printf 'rule all\n section *\n action exclude\n reason a test\n' >all.rules
    check "ccache, other rules" "$previrt" cc --rules "$work/all.rules" ccache gcc -m32 -O2 -c "$here/inline.c" -o cc4.o
    check "are another object too" sh -c '! readelf -SW cc4.o | grep -q previrt'
    printf '\n' >"$work/all.rules"
    "$previrt" cc --rules "$work/all.rules" ccache gcc -m32 -O2 -c "$here/inline.c" -o cc5.o
    check "and so are changed rules" annotated cc5.o
    check "ccache without us" ccache gcc -m32 -O2 -c "$here/inline.c" -o cc6.o
    check "is not annotated" sh -c '! readelf -SW cc6.o | grep -q previrt'
else
    skip "ccache: not installed"
fi
cat >Makefile <<'END'
objects := $(foreach n,0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15,o$(n).o)
all: $(objects)
o%.o: inline.c
	$(CC) -m32 -O1 -MD -c -o $@ $<
END
cp "$here/inline.c" .
check "parallel make" make -s -j4 CC="$previrt cc gcc"
check "all of them alike" sh -c 'for i in o*.o; do objdump -d $i | tail -n +4 | cksum; done | sort -u | wc -l | grep -qx 1'
check "all of them annotated" sh -c 'for i in o*.o; do readelf -SW $i | grep -q previrt || exit 1; done'
cat >cxx.cc <<'END'
template <class T> T f(T x) { __asm__ volatile("cli"); return x; }
struct S { virtual int m(int x) { __asm__ volatile("hlt"); return x; } };
int a(int x) { S s; __asm__ volatile("sti"); return f(x) + f((char)x) + s.m(x); }
extern "C" void *_ZTVN10__cxxabiv117__class_type_infoE[3];
__attribute__((weak)) void *_ZTVN10__cxxabiv117__class_type_infoE[3];
END
if command -v g++ >/dev/null && "$previrt" cc g++ -m32 -c cxx.cc -o cxx.o 2>/dev/null; then
    check "COMDAT: the table is in the group" sh -c 'readelf -gW cxx.o | grep -q "note.previrt"'
    sed 's/int a/int b/' cxx.cc >cxx2.cc
    "$previrt" cc g++ -m32 -c cxx2.cc -o cxx2.o
    check "COMDAT: links twice" ld -m elf_i386 -r cxx.o cxx2.o -o cxx3.o
    # what the linker keeps once is recorded once: two sti, one hlt, one cli for each of two types, and no stray record
    for linker in ld.bfd ld.gold ld.lld; do
        command -v $linker >/dev/null || { skip "COMDAT with $linker: not installed"; continue; }
        check "COMDAT: a program, $linker" $linker -m elf_i386 -e _Z1ai -o cxx.elf cxx.o cxx2.o
        check "COMDAT: its audit" "$previrt" audit cxx.elf
        check "COMDAT: its sites" sh -c '"$1" table dump "$2" | grep -cw cli | grep -qx 2 &&
            "$1" table dump "$2" | grep -cw hlt | grep -qx 1 && "$1" table dump "$2" | grep -cw sti | grep -qx 2' \
            sh "$previrt" cxx.elf
    done
else
    skip "COMDAT groups of C++: no g++"
fi
check "nothing is left behind" sh -c '! ls -A | grep -E "tmp|previrt-as"'

verdicts
