/* SPDX-License-Identifier: MIT
 *
 * Output on COM1, the checks and the end of a test. "PASS name", "FAIL name: got x expected y" and
 * "SKIP name: why" are the only lines that a runner needs to understand.
 */
#include "guest.h"

enum { GROUP_LINES = 12 }; /* failures of a group that are told in full, without "all" */
enum { COM1 = 0x3f8, LINE_STATUS = 5, TRANSMIT_EMPTY = 0x20, DEBUG_EXIT = 0xf4 };

static u32 passed, failed, skipped;
static const char *group;
static u32 group_cases, group_failed, group_lines;

static void put(char c)
{
    while (!(inb(COM1 + LINE_STATUS) & TRANSMIT_EMPTY))
        ;
    outb(COM1, (u8)c);
}

u64 divide_u64(u64 value, u32 by, u32 *rest)
{
    u32 high = (u32)(value >> 32), low = (u32)value, quotient_low, remainder = high % by;

    asm("divl %4" : "=a"(quotient_low), "=d"(*rest) : "0"(low), "1"(remainder), "r"(by) : "cc");
    return (u64)(high / by) << 32 | quotient_low;
}

static void put_number(u64 value, u32 base, u32 width)
{
    char digits[24];
    u32 count = 0, digit;

    do {
        value = divide_u64(value, base, &digit);
        digits[count++] = "0123456789abcdef"[digit];
    } while (value != 0 || count < width);
    while (count > 0)
        put(digits[--count]);
}

/* %s %c %d %u %x with an optional width (zeroes) and l or ll. */
static void vprint(const char *format, __builtin_va_list args)
{
    for (; *format != 0; format++) {
        u32 width = 0, longs = 0;

        if (*format != '%') {
            put(*format);
            continue;
        }
        for (format++; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (u32)(*format - '0');
        for (; *format == 'l'; format++)
            longs++;
        if (*format == 's') {
            for (const char *s = __builtin_va_arg(args, const char *); *s != 0; s++)
                put(*s);
        } else if (*format == 'c') {
            put((char)__builtin_va_arg(args, int));
        } else if (*format == 'd') {
            i32 value = __builtin_va_arg(args, i32);
            if (value < 0)
                put('-');
            put_number(value < 0 ? 0u - (u32)value : (u32)value, 10, width);
        } else if (*format == 'u' || *format == 'x') {
            u64 value = longs == 2   ? __builtin_va_arg(args, u64)
                        : longs == 1 ? __builtin_va_arg(args, ulong)
                                     : __builtin_va_arg(args, u32);
            put_number(value, *format == 'x' ? 16 : 10, width);
        } else {
            put(*format);
        }
    }
}

void print(const char *format, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, format);
    vprint(format, args);
    __builtin_va_end(args);
}

/* Counts a result and prints its line up to the name. True when a failure's details must follow. */
static bool report(bool good, const char *name, __builtin_va_list args)
{
    if (group)
        group_cases++;
    if (good && group)
        return false;
    if (good)
        passed++;
    else if (group)
        group_failed++;
    else
        failed++;
    if (!good && group && group_failed > group_lines)
        return false;
    print(good ? "PASS " : "FAIL ");
    if (group)
        print("%s: ", group);
    vprint(name, args);
    if (good)
        print("\n");
    return !good;
}

bool check_va(bool good, u64 got, u64 want, const char *name, __builtin_va_list args);
bool check_va(bool good, u64 got, u64 want, const char *name, __builtin_va_list args)
{
    if (report(good, name, args))
        print(": got %llx expected %llx\n", got, want);
    return good;
}

bool check(bool good, const char *name, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, name);
    check_va(good, good, true, name, args);
    __builtin_va_end(args);
    return good;
}

bool check_eq(u64 got, u64 want, const char *name, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, name);
    check_va(got == want, got, want, name, args);
    __builtin_va_end(args);
    return got == want;
}

static bool check_trap(bool good, u32 vector, i64 error, const char *name, __builtin_va_list args)
{
    if (report(good, name, args))
        print(": got vector %lx error %lx ip %lx cr2 %lx expected vector %x error %llx ip %lx\n",
              trap.vector, trap.error, trap.ip, trap.cr2, vector, (u64)error, trap.start);
    return good;
}

bool check_fault(u32 vector, i64 error, const char *name, ...)
{
    bool good =
        trap.vector == vector && (error == -1 || (i64)trap.error == error) && trap.ip == trap.start;
    __builtin_va_list args;

    __builtin_va_start(args, name);
    check_trap(good, vector, error, name, args);
    __builtin_va_end(args);
    return good;
}

bool check_pf(u32 error, ulong cr2, const char *name, ...)
{
    bool good =
        trap.vector == PF && trap.error == error && trap.ip == trap.start && trap.cr2 == cr2;
    __builtin_va_list args;

    __builtin_va_start(args, name);
    if (!check_trap(good, PF, error, name, args) && trap.vector == PF)
        print("     CR2 expected %lx\n", cr2);
    __builtin_va_end(args);
    return good;
}

bool check_no_fault(const char *name, ...)
{
    __builtin_va_list args;
    bool good = trap.vector == NO_TRAP;

    __builtin_va_start(args, name);
    check_trap(good, NO_TRAP, 0, name, args);
    __builtin_va_end(args);
    return good;
}

bool check_end(const struct context *c, u32 vector, i64 error, i64 ip_offset, const char *name, ...)
{
    bool good = c->vector == vector && (error == -1 || (i64)c->error == error) &&
                (ip_offset == -1 || c->ip - c->base == (ulong)ip_offset);
    __builtin_va_list args;

    __builtin_va_start(args, name);
    if (report(good, name, args))
        print(": got vector %lx error %lx ip %lx+%lx expected vector %x error %llx ip +%llx\n",
              c->vector, c->error, c->base, c->ip - c->base, vector, (u64)error, (u64)ip_offset);
    __builtin_va_end(args);
    return good;
}

void check_skip(const char *name, const char *why)
{
    skipped++;
    print("SKIP %s: %s\n", name, why);
}

bool skip_on_qemu(const char *name)
{
    struct cpuid c = cpuid(0x40000000, 0);

    if (!(cpuid(1, 0).c >> 31) || c.b != 0x54474354) /* "TCGT" */
        return false;
    check_skip(name, "differs from the manual in QEMU, see README.md");
    return true;
}

void group_begin(const char *name)
{
    group = name;
    group_cases = 0;
    group_failed = 0;
    group_lines = guest_option("all") ? ~0u : GROUP_LINES;
}

void group_end(void)
{
    if (group_failed == 0) {
        passed++;
        print("PASS %s (%u cases)\n", group, group_cases);
    } else {
        failed++;
        print("FAIL %s: %u of %u cases\n", group, group_failed, group_cases);
    }
    group = NULL;
}

static void end_with(u32 value)
{
    for (;;) {
        outl(DEBUG_EXIT, value);
        asm volatile("cli; hlt");
    }
}

void guest_exit(void)
{
    print("DONE %u passed, %u failed, %u skipped\n", passed, failed, skipped);
    end_with(failed == 0 ? 0x10 : 0x11);
    __builtin_unreachable();
}

void guest_panic(const char *format, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, format);
    print("PANIC ");
    vprint(format, args);
    print("\n");
    __builtin_va_end(args);
    end_with(0x12);
    __builtin_unreachable();
}
