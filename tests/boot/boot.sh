#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One boot of a real system from start to end. Usage: boot.sh LOCKSTEP CASE [IMAGE]
# Cases: see the end of this file. Prints the guest's output if something is missing. Works with
# qemu-system-x86_64 in place of LOCKSTEP as well, for the cases that need no option of ours. TEST_SLOWNESS
# multiplies the time limits, BOOT_OPTIONS are further options, BOOT_APPEND goes to the command line of a Linux
# kernel.
set -u
lockstep=$1 case=$2 image=${3:-}
# CASE-interp: the same in the interpreter.
engine=()
[[ $case != *-interp ]] || engine=(-engine interp)
read -ra options <<<"${BOOT_OPTIONS:-}"
engine+=("${options[@]}")
. "$(dirname "$0")/guest.sh"
work=$(mktemp -d)
emulator=
# Kills only what this script has started.
trap '[ -z "$emulator" ] || kill -KILL "$emulator" 2>/dev/null; rm -rf "$work"' EXIT
log=$work/serial

fail() {
    echo "FAILED: $case: $*"
    for file in "$log" "$work/stderr" "$work/screen"; do
        [ ! -s "$file" ] || { echo "---- ${file##*/} ----"; tail -c 200000 "$file"; }
    done
    exit 1
}

# run SECONDS STATUS OPTION...: from start to end, with the first serial port in $log.
run() {
    local seconds=$(($1 * ${TEST_SLOWNESS:-1})) want=$2 got
    shift 2
    : >"$log"
    timeout -k 5 "$seconds" "$lockstep" "${engine[@]}" -nodefaults -display none -serial "file:$log" "$@" \
        </dev/null >"$work/stdout" 2>"$work/stderr"
    got=$?
    [ $got != 124 ] || fail "no end within $seconds seconds"
    [ $got = "$want" ] || fail "status $got instead of $want"
}

# start OPTION...: in the background, as process $emulator.
start() {
    : >"$log"
    "$lockstep" "${engine[@]}" -nodefaults -display none -serial "file:$log" "$@" \
        </dev/null >"$work/stdout" 2>"$work/stderr" &
    emulator=$!
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local left=$(($1 * ${TEST_SLOWNESS:-1}))
    shift
    until "$@"; do
        kill -0 "$emulator" 2>/dev/null || fail "ended too early"
        [ $((left -= 1)) -gt 0 ] || fail "waited in vain for: $*"
        sleep 1
    done
}

# terminate: a polite end must be quick and give status 0.
terminate() {
    local left=100
    kill -TERM "$emulator"
    while kill -0 "$emulator" 2>/dev/null; do
        [ $((left -= 1)) -gt 0 ] || fail "SIGTERM does not end it"
        sleep 0.1
    done
    wait "$emulator" || fail "status $? after SIGTERM"
    emulator=
}

expect() { grep -aqE -- "$1" "$log" || fail "the output lacks: $1"; }
refuse() { ! grep -aE -- "$1" "$log" || fail "the output has: $1"; }

# No processor had to wait for so long that the kernel noticed.
healthy() { refuse 'soft lockup|hard LOCKUP|rcu.*(stall|starved)|hung_task|clocksource.*(unstable|[Ss]kew)'; }

# linux KERNEL SECONDS OPTION...: our init checks the machine from inside and powers off.
linux() {
    local kernel seconds=$2 initramfs
    kernel=$(guest_kernel "$1") || fail "$1 is not to be had"
    initramfs=$(${ramdisk:-guest_initramfs}) || fail "no initramfs"
    shift 2
    run "$seconds" 0 -no-reboot -kernel "$kernel" -initrd "$initramfs" \
        -append "console=ttyS0 ${append:-} ${BOOT_APPEND:-} selfcheck" "$@"
    expect 'SELFCHECK PASSED'
    expect 'reboot: Power down'
    refuse 'unchecked MSR|Kernel panic'
}

# Locked instructions of a Linux program on every processor. HAMMER rounds of each form in each place; with
# HAMMER=1600000 the token is passed 10^7 times, in some four minutes.
hammer() {
    local rounds=${HAMMER:-3000} place
    append="cpus=$1 hammer=$rounds" ramdisk=guest_hammer \
        linux linux-image-cloud-amd64 $((400 + rounds / 500)) -m 512M -smp "$1"
    for place in aligned 'misaligned in a line' 'across a line' 'across a page' 'in a page with code' \
        'across a line in a page with code' 'across a page, the second one often absent'; do
        expect "^hammer: $place: ok"
    done
    refuse 'FAILED'
    healthy
}

# Four processors with nothing to do use less than 3 % of one of the host's.
idle() {
    local kernel initramfs before used
    kernel=$(guest_kernel linux-image-cloud-amd64) || fail "the kernel is not to be had"
    initramfs=$(guest_initramfs) || fail "no initramfs"
    mkfifo "$work/keys"
    "$lockstep" -nodefaults -display none -serial stdio -no-reboot -m 512M -smp 4 -kernel "$kernel" \
        -initrd "$initramfs" -append "console=ttyS0 quiet" "$@" <"$work/keys" >"$log" 2>"$work/stderr" &
    emulator=$!
    exec 8>"$work/keys"
    wait_for 300 grep -aq '^/ # ' "$log"
    sleep 10 # what a kernel does after it has started
    before=$(processor_ns)
    sleep 10
    used=$(($(processor_ns) - before))
    kill -0 "$emulator" || fail "ended too early"
    echo "$((used / 1000000)) ms of processor time in 10 s"
    [ $used -lt 300000000 ] || fail "an idle guest uses $((used / 1000000)) ms in 10 s"
    terminate
}

# processor_ns: of all threads of the emulator.
processor_ns() { cat /proc/"$emulator"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# enlightened KERNEL SECONDS OPTION...: Linux as a client of Hv#1: it finds everything it can use, calibrates nothing,
# and the trace shows that it does use it.
enlightened() {
    local trace=$work/trace
    linux "$@" -d hv1 -D "$trace"
    expect 'Hypervisor detected: Microsoft Hyper-V'
    expect 'Hyper-V: privilege flags low 0xeff, high 0x0, hints 0xe2c, misc 0xc4530'
    expect 'Hyper-V: Host Build 10.0.14393'
    expect 'Hyper-V: LAPIC Timer Frequency'
    expect 'Hyper-V: Using hypercall for remote TLB flush'
    expect 'Hyper-V: PV spinlocks enabled'
    expect 'Hyper-V: Using IPI hypercalls'
    expect 'Hyper-V: Using enlightened APIC'
    expect 'Switched to clocksource hyperv_clocksource_tsc_page'
    expect 'clock: hyperv_clocksource_tsc_page'
    refuse 'TSC: .*[Cc]alibrat|tsc: .*[Cc]alibrat|APIC timer.*calibrat|[Cc]alibrating APIC|Refined TSC'
    # Not EOI: where no interrupt waits for another, the assist page lets the guest leave out all of them.
    for used in 'writes STIMER' 'writes REFERENCE_TSC' 'writes VP_ASSIST_PAGE'; do
        grep -q "$used" "$trace" || fail "the guest never $used"
    done
    [[ $* != *-smp* ]] || for used in HvSendSyntheticClusterIpi 'HvFlushVirtualAddress(List|Space)'; do
        grep -qE "calls $used.* -> [0-9a-f]*0000\$" "$trace" || fail "the guest never calls $used with success"
    done
    ! grep -E -- '-> #GP|unknown' "$trace" || fail "the guest uses something that is not there"
}

# no_stale_overlay COUNT TRACE: nothing of Hv#1 is left of the system before. Each of the COUNT that started finds the
# hypercall page and the TSC page off when it looks, and then turns them on.
no_stale_overlay() {
    local count=$1 trace=$2 page
    for page in HYPERCALL REFERENCE_TSC; do
        awk -v page="$page" -v count="$count" '
            $5 == page && $4 == "reads" { off = $NF ~ /[02468ace]$/ }
            $5 == page && $4 == "writes" && $NF ~ /[13579bdf]$/ { if (!off) stale = 1; off = 0; n++ }
            END { exit stale || n < count }' "$trace" ||
            fail "not $count systems, or more, find this page off: $(grep -w "$page" "$trace")"
    done
}

# Started twice: by kexec from inside.
kexec() {
    local trace=$work/trace
    append="cpus=$1 memory=180 again=kexec" ramdisk=guest_kexec \
        linux linux-image-cloud-amd64 300 -m 256M -smp "$1" -d hv1 -D "$trace"
    [ "$(grep -ac 'SELFCHECK PASSED' "$log")" = 2 ] || fail "not two systems passed"
    [ "$(grep -ac 'Linux version' "$log")" = 2 ] || fail "not two kernels started"
    healthy
    no_stale_overlay 2 "$trace"
}

# And by a reset of the machine, again and again.
reboot() {
    local trace=$work/trace kernel initramfs
    kernel=$(guest_kernel linux-image-cloud-amd64) || fail "the kernel is not to be had"
    initramfs=$(guest_initramfs) || fail "no initramfs"
    start -m 256M -smp "$1" -kernel "$kernel" -initrd "$initramfs" \
        -append "console=ttyS0 cpus=$1 memory=180 again=reboot selfcheck" -d hv1 -D "$trace"
    wait_for 600 third_time
    terminate
    refuse 'FAILED|unchecked MSR|Kernel panic'
    healthy
    no_stale_overlay 3 "$trace"
}
third_time() { [ "$(grep -ac 'SELFCHECK PASSED' "$log")" -ge 3 ]; }

# ipxe OPTION...: Debian's iPXE finds the interface, keeps time by its counter, and goes on. The options make it say
# what is expected here.
ipxe() {
    local trace=$work/trace
    guest_deb ipxe ipxe || fail "iPXE is not to be had"
    run 60 0 -no-reboot -kernel "$GUESTS/ipxe/boot/ipxe.lkrn" -d hv1 -D "$trace" "$@"
    expect 'iPXE initialising devices...ok'
    expect 'iPXE begins'
    expect 'iPXE has slept'
    grep -q 'cpuid 40000001.* -> 31237648' "$trace" || fail "iPXE does not find Hv#1"
    awk '/reads TIME_REF_COUNT/ { last = $NF; if (!n++) first = last }
        END { print n " reads of the reference time, from " first " to " last; exit n < 1000 }' "$trace" ||
        fail "iPXE does not keep time by it"
    ! grep -E -- '-> #GP|unknown' "$trace" || fail "iPXE uses something that is not there"
}

# By a script in its ramdisk, which with less memory it does not find, on other PCs neither.
ipxe_initrd() {
    printf '%s\n' '#!ipxe' 'echo iPXE begins' 'sleep 3' 'echo iPXE has slept' 'sleep 1' reboot >"$work/script"
    ipxe -m 96M -initrd "$work/script"
}

# Two engines, from power-on to power-off: the same instructions, the same memory in the end.
counted() {
    local report=$work/report
    linux linux-image-cloud-amd64 240 -m 512M -clock counted -exit-report "$report.1" -engine "$1"
    linux linux-image-cloud-amd64 480 -m 512M -clock counted -exit-report "$report.2" -engine "$2"
    echo "$1: $(cat "$report.1")"
    echo "$2: $(cat "$report.2")"
    grep -qE '"end": "power-off".*"instructions": [1-9][0-9]{8,}.*"ram_hash": "[0-9a-f]{32}"' \
        "$report.1" || fail "the report is not complete"
    cmp -s "$report.1" "$report.2" || fail "two runs with the same input differ"
}

# type_line TEXT...: a line on the guest's keyboard.
type_line() { printf '%s\n' "$*" >&8; }

# A person at the serial console. The ACPI tables come out as Linux sees them, and must please iasl.
shell() {
    local kernel initramfs table
    kernel=$(guest_kernel linux-image-cloud-amd64) || fail "the kernel is not to be had"
    initramfs=$(guest_initramfs) || fail "no initramfs"
    mkfifo "$work/keys"
    "$lockstep" -nodefaults -display none -serial stdio -no-reboot -m 512M -kernel "$kernel" \
        -initrd "$initramfs" -append "console=ttyS0 quiet" <"$work/keys" >"$log" 2>"$work/stderr" &
    emulator=$!
    exec 8>"$work/keys"
    wait_for 150 grep -aq '^/ # ' "$log"
    type_line 'ls /; cat /proc/cpuinfo; dmesg'
    type_line 'for t in /sys/firmware/acpi/tables/[A-Z]*; do echo "TABLE ${t##*/}"; base64 $t; done'
    type_line 'echo over-$((6 * 7)); poweroff'
    wait_for 60 grep -aq '^over-42' "$log"
    wait "$emulator" || fail "status $?"
    emulator=
    expect '^bin +dev .*init'
    expect '^model name'
    expect '\] Command line: .*console=ttyS0'
    expect 'reboot: Power down'
    tr -d '\r' <"$log" | awk -v dir="$work/" '
        /^(\/ # |over-)/ { name = "" }
        /^TABLE / { name = $2; next }
        name != "" { print >(dir name ".base64") }'
    for table in APIC DSDT FACP FACS WAET; do
        [ -s "$work/$table.base64" ] || fail "Linux has no table $table"
    done
    for table in "$work"/*.base64; do
        table=${table##*/} table=${table%.base64}
        base64 -d "$work/$table.base64" >"$work/$table.dat" || fail "$table did not come through"
        (cd "$work" && iasl -d "$table.dat" && iasl -p again "$table.dsl") >"$work/iasl" 2>&1 ||
            fail "iasl on $table: $(cat "$work/iasl")"
        ! grep -E 'Warning|Error|Remark' "$work/iasl" | grep -vE '0 Errors, 0 Warnings, 0 Remarks' ||
            fail "iasl on $table: $(cat "$work/iasl")"
        echo "iasl is content with $table, $(stat -c %s "$work/$table.dat") bytes"
    done
}

installer() {
    local at
    guest_deb debian-installer-12-netboot-i386 di-i386 || fail "the installer is not to be had"
    at=$GUESTS/di-i386/usr/lib/debian-installer/images/12/i386/text/debian-installer/i386
    start -m 512M -kernel "$at/linux" -initrd "$at/initrd.gz" \
        -append "console=ttyS0 TERM=vt102 vga=normal"
    wait_for 300 grep -aq 'Select a language' "$log"
    refuse 'unchecked MSR|Oops|BUG:|WARNING:|Kernel panic'
    terminate
}

screen_shows() {
    kill -USR1 "$emulator"
    sleep 1
    grep -aqE -- "$1" "$work/screen"
}

# Until it has begun its second test: the address tests and the first moving inversions are over.
memtest() {
    guest_deb memtest86+ memtest || fail "memtest86+ is not to be had"
    start -m 16M -screendump "$work/screen" -kernel "$GUESTS/memtest/boot/memtest86+x64.bin"
    sleep 2 # a signal before the program's first line would end it
    wait_for 60 screen_shows 'Memtest86\+'
    wait_for 200 screen_shows 'Test #[2-9]'
    screen_shows 'Errors: *[1-9]' && fail "memtest86+ counts errors"
    screen_shows 'Errors: *0' || fail "there is no error counter on the screen"
    cat "$work/screen"
    terminate
}

# Guest 2 of tests/machine/guests.asm loads an empty IDT and executes an undefined opcode.
triple_fault() {
    cp "$image" "$work/bios"
    printf '\2' | dd of="$work/bios" bs=1 seek=$((0xffe0)) conv=notrunc status=none
    run 30 2 -no-reboot -m 16M -bios "$work/bios"
    grep -q '^RAX=' "$work/stderr" || fail "no register dump"
    grep -q 'triple fault' "$work/stderr" || fail "no word about the triple fault"
}

case ${case%-interp} in
cloud) linux linux-image-cloud-amd64 200 -m 512M ;;
amd64) linux linux-image-amd64 240 -m 1G ;;
cloud-16g) append="memory=15000" linux linux-image-cloud-amd64 240 -m 16G ;;
cloud-baseline) linux linux-image-cloud-amd64 200 -m 512M -cpu x86-64 ;;
cloud-hv1) enlightened linux-image-cloud-amd64 200 -m 512M ;;
cloud-hv1-smp2) append="cpus=2" enlightened linux-image-cloud-amd64 300 -m 512M -smp 2 ;;
cloud-hv1-smp8) append="cpus=8" enlightened linux-image-cloud-amd64 480 -m 512M -smp 8 ;;
cloud-hv1-min) linux linux-image-cloud-amd64 200 -m 512M -hv min && expect 'Microsoft Hyper-V' ;;
cloud-hv1-off) linux linux-image-cloud-amd64 200 -m 512M -hv off && refuse 'Hyper-V' ;;
cloud-smp[1-9]*)
    cpus=${case%-interp} cpus=${cpus#cloud-smp}
    append="cpus=$cpus" linux linux-image-cloud-amd64 300 -m 512M -smp "$cpus"
    healthy
    ;;
cloud-hammer[2-9]*)
    cpus=${case%-interp}
    hammer "${cpus#cloud-hammer}"
    ;;
cloud-idle) idle ;;
cloud-idle-hv1-off) idle -hv off ;;
cloud-kexec) kexec 2 ;;
cloud-reboot) reboot 2 ;;
ipxe) ipxe -m 64M -append 'echo iPXE begins && sleep 3 && echo iPXE has slept && sleep 1 && reboot' ;;
ipxe-initrd) ipxe_initrd ;;
cloud-direct) linux linux-image-cloud-amd64 200 -m 512M -bios none ;;
# In counted time, which passes no faster than the code that is translated again and again.
cloud-small-cache) linux linux-image-cloud-amd64 600 -m 512M -clock counted -jit cache=256K ;;
# A host without FSGSBASE, AVX, BMI and the like; and without any of the translator's optimisations.
cloud-old-host)
    linux linux-image-cloud-amd64 300 -m 512M -jit no-fsgsbase,no-avx,no-avx512,no-xsave,no-bmi,no-scan ;;
cloud-plain)
    linux linux-image-cloud-amd64 600 -m 512M \
        -jit "$("$lockstep" -jit help | grep -oE '^no-[a-z0-9-]+' | paste -sd,)" ;;
cloud-shell) shell ;;
cloud-counted) counted interp jit ;;
cloud-repeat) counted jit jit ;;
cloud-check) counted jit check ;;
installer-i386) installer ;;
memtest) memtest ;;
triple-fault) triple_fault ;;
*) echo "boot.sh: no case $case" >&2; exit 1 ;;
esac
echo "PASSED: $case"
