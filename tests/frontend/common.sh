# SPDX-License-Identifier: MIT
# Sourced by the scripts of this folder: the program under test, small guests, and bookkeeping.
# The scripts take LOCKSTEP GUESTS_BIN as their arguments.
lockstep=$1 guests=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0 checks=0

# In the order of tests/machine/guests.asm.
guest_names=(exit power_off triple_fault reset_cf9 reset_92 reset_8042 reset_triple halt screen echo
    work spin sleep smp hello power_button a20 smp_reset fpu fault_loop mwait)

# guest NAME: prints the path of a BIOS image that runs it.
guest() {
    local n image=$work/$1.bin
    for n in "${!guest_names[@]}"; do
        [ "${guest_names[n]}" = "$1" ] || continue
        cp "$guests" "$image"
        printf "\\x$(printf %02x "$n")" |
            dd of="$image" bs=1 seek=$((0xffe0)) conv=notrunc status=none
        echo "$image"
        return
    done
    echo "no guest $1" >&2
    exit 1
}

bad() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

finish() {
    echo "$checks checks, $failures failures"
    [ $failures = 0 ]
    exit
}
