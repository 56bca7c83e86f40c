/* SPDX-License-Identifier: MIT
 *
 * The first instruction: firmware or, with -bios none, a kernel; and that a reset starts the same
 * thing again from a clean copy.
 */
#include "machine/internal.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

/* A multiboot kernel at 1 MiB: three starts, counted at 2 MiB, each of which must find the byte at
 * 100100h as the file has it (5). Its code is that byte plus 1, or 0x55 for a wrong magic. */
static const u8 kernel[0x110] = {
    0x02,        0xb0, 0xad, 0x1b, 0x00, 0x00, 0x01, 0x00,
    0xfe,        0x4f, 0x51, 0xe4, /* header, checksum */
    0x00,        0x00, 0x10, 0x00, 0x00, 0x00, 0x10, 0x00,
    0x00,        0x00, 0x00, 0x00,                         /* its place, load */
    0x00,        0x00, 0x00, 0x00, 0x20, 0x00, 0x10, 0x00, /* no bss; entry */
    0x3d,        0x02, 0xb0, 0xad, 0x2b,                   /* 20: cmp eax, 2badb002h */
    0xb0,        0x55,                                     /* 25: mov al, 55h */
    0x75,        0x21,                                     /* 27: jne 4a */
    0xfe,        0x05, 0x00, 0x01, 0x10, 0x00,             /* 29: inc byte [100100h] */
    0xff,        0x05, 0x00, 0x00, 0x20, 0x00,             /* 2f: inc dword [200000h] */
    0x83,        0x3d, 0x00, 0x00, 0x20, 0x00, 0x03,       /* 35: cmp dword [200000h], 3 */
    0x72,        0x0f,                                     /* 3c: jb 4d */
    0xa0,        0x00, 0x01, 0x10, 0x00,                   /* 3e: mov al, [100100h] */
    0x90,        0x90, 0x90, 0x90, 0x90, 0x90, 0x90,       /* 43 */
    0xe6,        0xf4, 0xf4,                               /* 4a: out 0f4h, al; hlt */
    0x66,        0xba, 0xf9, 0x0c,                         /* 4d: mov dx, 0cf9h */
    0xb0,        0x02, 0xee,                               /* 51: mov al, 2; out dx, al */
    0xb0,        0x06, 0xee,                               /* 54: mov al, 6; out dx, al */
    0xeb,        0xfe,                                     /* 57: jmp 57 */
    [0x100] = 5,
};

/* How the kernel asks for its resets. */
enum reset_kind { RESET_CF9, RESET_TRIPLE, RESET_92 };

static int kernel_file(enum reset_kind kind)
{
    static const u8 triple[] = {0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0xcc};
    static const u8 port92[] = {0xb0, 0x01, 0xe6, 0x92, 0xeb, 0xfe};
    u8 image[sizeof(kernel)];
    int fd = memfd_create("kernel", 0);

    memcpy(image, kernel, sizeof(kernel));
    if (kind == RESET_TRIPLE)
        memcpy(image + 0x4d, triple, sizeof(triple));
    else if (kind == RESET_92)
        memcpy(image + 0x4d, port92, sizeof(port92));
    ck_assert_int_eq(write(fd, image, sizeof(image)), sizeof(image));
    return fd;
}

static void run_kernel(enum reset_kind kind, const char *bios)
{
    struct guest_machine g;
    int fd = kernel_file(kind);
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.ram_size = MIB(16);
    g.config.bios = bios;
    g.config.kernel = path;
    g.config.time = TIME_COUNTED;
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 13);
    guest_destroy(&g);
    close(fd);
}

START_TEST(kernel_without_firmware_is_loaded_again_at_a_reset)
{
    run_kernel((enum reset_kind)_i, "none");
}
END_TEST

START_TEST(kernel_through_seabios)
{
    run_kernel(RESET_CF9, NULL);
}
END_TEST

START_TEST(firmware_starts_at_the_reset_vector)
{
    struct guest_machine g;
    struct vcpu *v;

    guest_prepare(&g, GUEST_EXIT, 0);
    guest_create(&g);
    v = g.machine->processors[0].vcpu;
    ck_assert_uint_eq(v->seg[SEG_CS].base + v->rip, 0xfffffff0);
    ck_assert_uint_eq(physmap_read_uint(g.machine->map, 0xfffffff0, 1), 0xea);
    ck_assert_uint_eq(physmap_read_uint(g.machine->map, 0xffff0, 1), 0xea);
    guest_destroy(&g);
}
END_TEST

/* What firmware would have done: RAM under the BIOS area, power management where ACPI says. */
START_TEST(chipset_is_programmed_without_firmware)
{
    struct guest_machine g;
    char path[32];
    int fd = kernel_file(RESET_CF9);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.bios = "none";
    g.config.kernel = path;
    guest_create(&g);
    physmap_write_uint(g.machine->map, 0xf8000, 0x5a, 1);
    ck_assert_uint_eq(physmap_read_uint(g.machine->map, 0xf8000, 1), 0x5a);
    pio_write(&g.machine->pio, g.machine->platform.config.acpi.pm_base + 4, 0x2000, 2);
    guest_run(&g, END_POWER_OFF);
    guest_destroy(&g);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("start");
    TCase *tc = tcase_create("start");

    tcase_set_timeout(tc, 100);
    tcase_add_loop_test(tc, kernel_without_firmware_is_loaded_again_at_a_reset, RESET_CF9,
                        RESET_92 + 1);
    tcase_add_test(tc, kernel_through_seabios);
    tcase_add_test(tc, firmware_starts_at_the_reset_vector);
    tcase_add_test(tc, chipset_is_programmed_without_firmware);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
