#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the build to a directory of its own and uses the library from there, as a stranger would:
# through pkg-config, dynamically and statically, from C++ and from Python.
# Usage: library_examples.sh ROOT BUILD COMPILER KIND    KIND: c, static, cpp, python, symbols
set -eu
root=$1 build=$2 compiler=$3 kind=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

cmake --install "$build" --prefix "$work/usr" >"$work/log" || fail "$(cat "$work/log")"
pc=$(find "$work/usr" -name lockstep.pc)
[ -n "$pc" ] || fail "lockstep.pc is not installed"
export PKG_CONFIG_PATH=${pc%/*}
library=$(pkg-config --variable=libdir lockstep)
cat >"$work/want" <<'END'
store 1 at 0x20004
store 4 at 0x20008
store 9 at 0x2000c
store 16 at 0x20010
halted after 26 instructions, rax = 16
END
compile() { # OUTPUT FLAGS
    out=$1; shift
    # shellcheck disable=SC2086
    "$compiler" ${SANITIZE:-} -Wall -Wextra -Werror "$root/include/examples/hooks.c" "$@" -o "$out"
}

case $kind in
c)
    compile "$work/example" $(pkg-config --cflags --libs lockstep) "-Wl,-rpath,$library"
    ldd "$work/example" | grep -q "$library/liblockstep.so.0" || fail "not the installed library"
    "$work/example" >"$work/got"
    "$work/usr/bin/lockstep" --version >/dev/null || fail "the command is not installed"
    ;;
static)
    rm "$library"/liblockstep.so*
    compile "$work/example" $(pkg-config --static --cflags --libs lockstep)
    ! ldd "$work/example" | grep -q liblockstep || fail "linked dynamically"
    "$work/example" >"$work/got"
    ;;
cpp)
    header=$(pkg-config --variable=includedir lockstep)/lockstep.h
    for standard in c++11 c++20; do
        clang -x c++ -std=$standard -Wall -Wextra -Werror -pedantic -fsyntax-only "$header"
    done
    for standard in c99 c17; do
        "$compiler" -x c -std=$standard -Wall -Wextra -Werror -pedantic -fsyntax-only "$header"
    done
    cp "$work/want" "$work/got"
    ;;
python)
    python3 "$root/include/examples/hooks.py" "$library/liblockstep.so" >"$work/got"
    ;;
symbols)
    nm -D --defined-only "$library/liblockstep.so" | awk '$2 != "A" { print $3 }' >"$work/symbols"
    ! grep -v '^lockstep_[a-z_]*@@LOCKSTEP_0.1$' "$work/symbols" || fail "exported without a version"
    grep -o '\blockstep_[a-z_]*(' "$root/include/lockstep.h" | tr -d '(' | grep -v '_fn$' | sort -u >"$work/declared"
    sed 's/@.*//' "$work/symbols" | sort -u | diff "$work/declared" - ||
        fail "header and library do not agree"
    cp "$work/want" "$work/got"
    ;;
*) fail "unknown kind $kind" ;;
esac
diff "$work/want" "$work/got" || fail "the example printed something else"
echo "ok"
