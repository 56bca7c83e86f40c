/* SPDX-License-Identifier: MIT
 *
 * A guest that dies reports it through the crash MSRs (TLFS "Partition crash enlightenment"). It is
 * logged in words, and nothing else happens: stopping the machine would keep Windows from writing
 * its dump. Names and parameters are those of Microsoft's bug check reference.
 */
#include "hv1/internal.h"

enum { MESSAGE_MAX = 4096, REPORTS_MAX = 16 };

/* HV_X64_MSR_GUEST_OS_ID 63: an open-source system, 62:56 says which. */
enum { OS_LINUX = 1, OS_FREEBSD = 2 };

static const struct bug_check {
    u32 code;
    const char *name;
    const char *parameters[4];
} bug_checks[] = {
    {0x0a,
     "IRQL_NOT_LESS_OR_EQUAL",
     {"address referenced", "IRQL", "access (0 read, 1 write, 8 execute)", "address of the code"}},
    {0x19, "BAD_POOL_HEADER", {"kind of corruption", "pool entry", "", ""}},
    {0x1a, "MEMORY_MANAGEMENT", {"kind of error", "", "", ""}},
    {0x1e,
     "KMODE_EXCEPTION_NOT_HANDLED",
     {"exception code", "address of the code", "exception parameter 0", "exception parameter 1"}},
    {0x24, "NTFS_FILE_SYSTEM", {"source file and line", "exception record", "context record", ""}},
    {0x3b,
     "SYSTEM_SERVICE_EXCEPTION",
     {"exception code", "address of the code", "context record", ""}},
    {0x3d, "INTERRUPT_EXCEPTION_NOT_HANDLED", {"exception record", "context record", "", ""}},
    {0x50,
     "PAGE_FAULT_IN_NONPAGED_AREA",
     {"address referenced", "access (0 read, 2 write, 10 execute)", "address of the code", ""}},
    {0x5c, "HAL_INITIALIZATION_FAILED", {"", "", "", ""}},
    {0x5d, "UNSUPPORTED_PROCESSOR", {"", "", "", ""}},
    {0x74, "BAD_SYSTEM_CONFIG_INFO", {"", "", "", "status code"}},
    {0x78, "PHASE0_EXCEPTION", {"", "", "", ""}},
    {0x79, "MISMATCHED_HAL", {"kind of mismatch", "", "", ""}},
    {0x7a, "KERNEL_DATA_INPAGE_ERROR", {"lock type or page table entry", "I/O status", "", ""}},
    {0x7b, "INACCESSIBLE_BOOT_DEVICE", {"boot device name or object", "status code", "", ""}},
    {0x7e,
     "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
     {"exception code", "address of the code", "exception record", "context record"}},
    {0x7f, "UNEXPECTED_KERNEL_MODE_TRAP", {"trap number (8 is a double fault)", "", "", ""}},
    {0x80, "NMI_HARDWARE_FAILURE", {"", "", "", ""}},
    {0x9c, "MACHINE_CHECK_EXCEPTION", {"", "", "", ""}},
    {0x9f, "DRIVER_POWER_STATE_FAILURE", {"kind of violation", "", "", ""}},
    {0xa5, "ACPI_BIOS_ERROR", {"kind of ACPI error", "", "", ""}},
    {0xbe, "ATTEMPTED_WRITE_TO_READONLY_MEMORY", {"address", "page table entry", "", ""}},
    {0xc1, "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION", {"address", "", "", "kind"}},
    {0xc2, "BAD_POOL_CALLER", {"kind of violation", "", "", ""}},
    {0xc4, "DRIVER_VERIFIER_DETECTED_VIOLATION", {"kind of violation", "", "", ""}},
    {0xc5,
     "DRIVER_CORRUPTED_EXPOOL",
     {"address referenced", "IRQL", "access (0 read, 1 write)", "address of the code"}},
    {0xd1,
     "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
     {"address referenced", "IRQL", "access (0 read, 1 write, 8 execute)", "address of the code"}},
    {0xe2, "MANUALLY_INITIATED_CRASH", {"", "", "", ""}},
    {0xef, "CRITICAL_PROCESS_DIED", {"process", "", "", ""}},
    {0xf4, "CRITICAL_OBJECT_TERMINATION", {"kind of object", "object", "name", "message"}},
    {0xfc, "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY", {"address", "page table entry", "", ""}},
    {0x101, "CLOCK_WATCHDOG_TIMEOUT", {"clock ticks", "", "PRCB of the hung processor", ""}},
    {0x109, "CRITICAL_STRUCTURE_CORRUPTION", {"", "", "", "kind of corrupted region"}},
    {0x10d, "WDF_VIOLATION", {"kind of violation", "", "", ""}},
    {0x116, "VIDEO_TDR_FAILURE", {"", "", "", ""}},
    {0x124, "WHEA_UNCORRECTABLE_ERROR", {"kind of error source", "error record", "", ""}},
    {0x133, "DPC_WATCHDOG_VIOLATION", {"0 one DPC, 1 all of them", "ticks", "ticks allowed", ""}},
    {0x139,
     "KERNEL_SECURITY_CHECK_FAILURE",
     {"kind of corruption", "trap frame", "exception record", ""}},
    {0x13a, "KERNEL_MODE_HEAP_CORRUPTION", {"kind of corruption", "heap", "address", ""}},
    {0x154, "UNEXPECTED_STORE_EXCEPTION", {"", "", "", ""}},
    {0x17e, "MICROCODE_REVISION_MISMATCH", {"", "", "", ""}},
    {0x1000007e,
     "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M",
     {"exception code", "address of the code", "exception record", "context record"}},
    {0xc0000218, "STATUS_CANNOT_LOAD_REGISTRY_FILE", {"", "", "", ""}},
    {0xc000021a, "STATUS_SYSTEM_PROCESS_TERMINATED", {"", "status code", "", ""}},
    {0xc0000221, "STATUS_IMAGE_CHECKSUM_MISMATCH", {"", "", "", ""}},
};

static const struct bug_check *find_bug_check(u64 code)
{
    for (size_t n = 0; n < ARRAY_SIZE(bug_checks); n++)
        if (bug_checks[n].code == code)
            return &bug_checks[n];
    return NULL;
}

static void log_parameters(struct log *log, const u64 *p, const char *const words[4])
{
    for (unsigned n = 0; n < 4; n++)
        log_warn(log, "  parameter %u: 0x%016lx%s%s", n + 1, p[n], words[n][0] ? "  " : "",
                 words[n]);
}

static void log_windows(struct hv1 *h)
{
    static const char *const unknown[4] = {"", "", "", ""};
    const struct bug_check *bug = find_bug_check(h->crash[0]);

    log_warn(h->config.log, "the guest has crashed: bug check 0x%lx%s%s", h->crash[0],
             bug ? " " : "", bug ? bug->name : "");
    log_parameters(h->config.log, &h->crash[1], bug ? bug->parameters : unknown);
}

/* Linux reports the die() error, its own identity, RIP, RAX and RSP. */
static void log_linux(struct hv1 *h)
{
    static const char *const words[4] = {"guest OS id", "RIP", "RAX", "RSP"};

    log_warn(h->config.log, "the guest (Linux) has crashed: error 0x%lx", h->crash[0]);
    log_parameters(h->config.log, &h->crash[1], words);
}

static void log_crash(struct hv1 *h)
{
    static const char *const unknown[4] = {"", "", "", ""};
    unsigned os = h->guest_os_id >> 56 & 0x7f;

    if (!(h->guest_os_id >> 63)) {
        log_windows(h);
    } else if (os == OS_LINUX) {
        log_linux(h);
    } else {
        log_warn(h->config.log, "the guest%s has crashed: code 0x%lx",
                 os == OS_FREEBSD ? " (FreeBSD)" : "", h->crash[0]);
        log_parameters(h->config.log, &h->crash[1], unknown);
    }
}

/* P4 bytes at guest-physical address P3, line by line, as plain text. */
static void log_message(struct hv1 *h)
{
    u64 size = h->crash[4] < MESSAGE_MAX ? h->crash[4] : MESSAGE_MAX;
    char text[MESSAGE_MAX + 1], *at = text, *line;

    if (!physmap_read(h->config.map, h->crash[3], text, size))
        log_warn(h->config.log, "the guest's crash message is not all in memory");
    text[size] = 0;
    for (u64 n = 0; n < size; n++)
        if (text[n] != '\n' && (text[n] < ' ' || text[n] > '~'))
            text[n] = text[n] ? '?' : '\n';
    log_warn(h->config.log, "the guest has crashed and says:");
    while ((line = at)) {
        for (at = line; *at && *at != '\n'; at++)
            ;
        if (!*at)
            at = NULL;
        else
            *at++ = 0;
        if (*line)
            log_warn(h->config.log, "  %s", line);
    }
}

/* A hostile guest does not fill the log. */
void crash_report(struct hv1 *h, u64 control)
{
    if (!(control & HV_CRASH_NOTIFY) || h->crash_reports == REPORTS_MAX)
        return;
    h->crash_reports++;
    if (control & HV_CRASH_MESSAGE)
        log_message(h);
    else
        log_crash(h);
}
