#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a person gets wrong: each ends with status 1 and exactly one sentence on standard error that
# names the option and says what to do. Usage: bad_input.sh LOCKSTEP GUESTS_BIN
set -u
. "$(dirname "$0")/common.sh"

# refused PATTERN OPTION...: PATTERN (extended) is what the sentence must have.
refused() {
    local pattern=$1 status
    shift
    checks=$((checks + 1))
    timeout $((20 * ${TEST_SLOWNESS:-1})) "$lockstep" "$@" </dev/null >"$work/out" 2>"$work/err"
    status=$?
    [ $status = 1 ] || bad "$*: status $status"
    [ ! -s "$work/out" ] || bad "$*: output: $(head -c 200 "$work/out")"
    [ "$(wc -l <"$work/err")" = 1 ] || bad "$*: not one line: $(cat "$work/err")"
    grep -qE "^lockstep: [^ ].*\.$" "$work/err" || bad "$*: not a sentence: $(cat "$work/err")"
    grep -qE -- "$pattern" "$work/err" || bad "$*: lacks /$pattern/: $(cat "$work/err")"
    # What to do: something after a semicolon, or a plain instruction.
    grep -qE '; |, as in |needs (-|an argument: )|takes|, from |at most ' "$work/err" ||
        bad "$*: does not say what to do: $(cat "$work/err")"
}

kernel=$work/kernel
head -c 100000 /dev/zero >"$kernel"
exit_guest=$(guest exit)
common=(-nodefaults -display none -bios "$exit_guest")

# -- files --
refused '-kernel.*/nonexistent' "${common[@]}" -kernel /nonexistent
refused '-kernel.*/' "${common[@]}" -kernel /
refused '-kernel.*is not a Linux kernel' "${common[@]}" -kernel "$kernel"
refused '-kernel.*is not a Linux kernel' "${common[@]}" -kernel /dev/null
refused '-kernel.*is not a Linux kernel' "${common[@]}" -kernel "$0"
refused '-bios.*/nonexistent' -nodefaults -bios /nonexistent
refused '-bios.*/' -nodefaults -bios /
refused '-bios.*64 KiB' -nodefaults -bios "$0"
refused '-bios.*64 KiB' -nodefaults -bios /dev/null
refused '-D.*/nonexistent/x' "${common[@]}" -d int -D /nonexistent/x
refused '-D /' "${common[@]}" -D /
refused '-serial.*/nonexistent/x' "${common[@]}" -serial file:/nonexistent/x
refused '-debugcon.*/nonexistent/x' "${common[@]}" -debugcon file:/nonexistent/x
refused '-exit-report.*/nonexistent/x' "${common[@]}" -exit-report /nonexistent/x
refused '-screendump.*/nonexistent/x' "${common[@]}" -screendump /nonexistent/x

# -- a multiboot kernel: 100000 bytes, loaded at 1 MiB --
{
    printf '\x02\xb0\xad\x1b\x00\x00\x01\x00\xfe\x4f\x51\xe4'
    printf '\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x10\x00'
    head -c 100000 /dev/zero
} >"$work/multiboot"
head -c 9000000 /dev/zero >"$work/initrd"
refused '-initrd.*/nonexistent' "${common[@]}" -kernel "$work/multiboot" -initrd /nonexistent
refused '-initrd' "${common[@]}" -m 4M -kernel "$work/multiboot" -initrd "$work/initrd"
refused '-initrd' -nodefaults -m 4M -bios none -kernel "$work/multiboot" -initrd "$work/initrd"
refused '-initrd needs -kernel' "${common[@]}" -initrd "$work/initrd"
refused '-append needs -kernel' "${common[@]}" -append quiet
refused '-bios none needs -kernel' -nodefaults -bios none

# -- numbers --
for size in 0 -1 '' abc 1X 1.5.5G 999T 99999G 18446744073709551616 0x 1500K inf nan; do
    refused '-m ' "${common[@]}" -m "$size"
done
for cpus in 0 -1 '' 256 two 1.5 4,sockets=3 4,cores= 4,dies=2 sockets=16,cores=16,threads=16; do
    refused '-smp' "${common[@]}" -smp "$cpus"
done
for clock in '' fast real,ips=5 counted,ips=0 counted,ips=10 counted,ips=x counted,ips=1e99 \
    counted,speed=3; do
    refused '-clock' "${common[@]}" -clock "$clock"
done
for date in now base=never base=2026-13-01 base=1960-01-01 base=2026-01-01T25:00:00; do
    refused '-rtc' "${common[@]}" -rtc "$date"
done

# -- names --
refused '--speed is not an option' --speed
refused '-hda is not an option' -hda disk
refused 'disk.img is not an option' disk.img
refused '^lockstep: - ' -
refused '-m needs an argument' -m
refused '-kernel needs an argument' "${common[@]}" -kernel
refused '-cpu 486' "${common[@]}" -cpu 486
refused '-cpu max: .*flux' "${common[@]}" -cpu max,+flux
refused '-cpu max: .*fast' "${common[@]}" -cpu max,fast
refused '-cpu max: .*la57' "${common[@]}" -cpu max,+la57
refused '-cpu x86-64: avx' "${common[@]}" -cpu x86-64,+avx
refused '-hv fully is no profile' "${common[@]}" -hv fully
refused '-hv does not know -flux' "${common[@]}" -hv full,-flux
refused '-hv off takes no switches' "${common[@]}" -hv off,+time
refused '-hv: stimer does not work without synic' "${common[@]}" -hv full,-synic
refused '-hv: stimer does not work without' "${common[@]}" -hv min,+stimer
refused '-hv vendor=' "${common[@]}" -hv full,vendor=
refused '-hv: tlbflush names no more than 64 processors' "${common[@]}" -smp 65 -hv full,+tlbflush
refused '-hv: ipi names more than 64 processors' "${common[@]}" -smp 65 -hv full,-ex-masks
refused '-hv is too long' "${common[@]}" -hv "full,$(head -c 5000 /dev/zero | tr '\0' x)"
refused 'hyperv-testdev needs' "${common[@]}" -hv min -device hyperv-testdev
refused 'hyperv-testdev takes no properties' "${common[@]}" -device hyperv-testdev,iobase=1
refused '-engine' "${common[@]}" -engine turbo
refused '-jit nonsense' "${common[@]}" -jit stats,nonsense
refused "-jit cache=1K" "${common[@]}" -jit cache=1K
refused '-display' "${common[@]}" -display sdl
refused '-serial.*tcp' "${common[@]}" -serial tcp:1
refused '-serial.*file:' "${common[@]}" -serial file:
refused '-serial' "${common[@]}" -serial null -serial null -serial null -serial null -serial null
refused '-debugcon' "${common[@]}" -debugcon pty
refused '-d .*nonsense' "${common[@]}" -d nonsense
refused '-d .*nonsense' "${common[@]}" -d int,nonsense
refused '-device.*nonsense' "${common[@]}" -device nonsense
for property in iobase=0x10000 iobase=x iosize=5 iosize=0 speed=1 iobase iobase=0xffff,iosize=4; do
    refused '-device isa-debug-exit' "${common[@]}" -device "isa-debug-exit,$property"
done
refused '0x60' "${common[@]}" -device isa-debug-exit,iobase=0x60
refused 'stdio' "${common[@]}" -serial stdio -debugcon stdio
refused 'stdio' "${common[@]}" -serial stdio -serial stdio

# -- features that this host lacks, if it lacks one --
lacking=
for feature in avx512f:avx512f sha-ni:sha_ni gfni:gfni vaes:vaes sse4a:sse4a avx-vnni:avx_vnni \
    avx512-bf16:avx512_bf16; do
    grep -qw "${feature#*:}" /proc/cpuinfo && continue
    lacking=${feature%:*}
    refused "-cpu max: this host does not have $lacking" "${common[@]}" -cpu "max,+$lacking"
done
grep -qw avx512f /proc/cpuinfo || refused '-cpu x86-64-v4 needs' "${common[@]}" -cpu x86-64-v4
echo "a feature that the host lacks: ${lacking:-none, every one is here}"

# A message must be one line whatever the person typed.
refused '-kernel.*a\?b' "${common[@]}" -kernel "$(printf 'a\nb')"
refused '-cpu' "${common[@]}" -cpu "$(head -c 5000 /dev/zero | tr '\0' x)"
refused 'is not an option' "-$(head -c 5000 /dev/zero | tr '\0' x)"
finish
