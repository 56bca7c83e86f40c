/* SPDX-License-Identifier: MIT
 *
 * Byte strings of ACPI 6.3 chapters 6.4 and 20, written out by hand.
 */
#include "bios/aml.h"

#include "bench.h"

#define ck_bytes(blob, ...)                                                                        \
    do {                                                                                           \
        static const u8 expected_[] = {__VA_ARGS__};                                               \
        ck_assert_uint_eq((blob).size, sizeof(expected_));                                         \
        ck_assert_mem_eq((blob).data, expected_, sizeof(expected_));                               \
        blob_fini(&(blob));                                                                        \
    } while (0)

START_TEST(integers_take_the_shortest_form)
{
    struct blob out = {0};

    aml_int(&out, 0);
    aml_int(&out, 1);
    aml_int(&out, 2);
    aml_int(&out, 0x100);
    aml_int(&out, 0x10000);
    aml_int(&out, 0x100000000);
    ck_bytes(out, 0x00, 0x01, 0x0a, 2, 0x0b, 0, 1, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0);
}
END_TEST

START_TEST(names)
{
    struct blob out = {0};

    aml_name(&out, "FOO");
    ck_bytes(out, 'F', 'O', 'O', '_');
    aml_name(&out, "\\_SB.PCI0");
    ck_bytes(out, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
    aml_name(&out, "^A.B.C");
    ck_bytes(out, '^', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_');
    aml_name(&out, "\\");
    ck_bytes(out, '\\', 0);
}
END_TEST

START_TEST(eisa_id)
{
    struct blob out = {0};

    aml_eisaid(&out, "PNP0A03");
    ck_bytes(out, 0x0c, 0x41, 0xd0, 0x0a, 0x03);
}
END_TEST

/* The package length at the sizes where its own size changes. */
START_TEST(package_length_boundaries)
{
    static const struct {
        u32 body;
        u8 size;
        u8 bytes[4];
    } rows[] = {
        {0, 1, {0x01}},
        {62, 1, {0x3f}},
        {63, 2, {0x41, 0x04}},
        {4093, 2, {0x4f, 0xff}},
        {4094, 3, {0x81, 0x00, 0x01}},
        {0xffffc, 3, {0x8f, 0xff, 0xff}},
        {0xffffd, 4, {0xc1, 0x00, 0x00, 0x01}},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct blob out = {0};
        u64 mark = aml_begin_if(&out);

        blob_zero(&out, rows[i].body);
        aml_end(&out, mark);
        ck_assert_uint_eq(out.size, 1 + rows[i].size + rows[i].body);
        ck_assert_mem_eq(out.data + 1, rows[i].bytes, rows[i].size);
        blob_fini(&out);
    }
}
END_TEST

START_TEST(blocks_nest)
{
    struct blob out = {0};
    u64 device = aml_begin_device(&out, "DEV"), method;

    method = aml_begin_method(&out, "_STA", 0, true);
    aml_op(&out, AML_RETURN);
    aml_int(&out, 15);
    aml_end(&out, method);
    aml_end(&out, device);
    ck_bytes(out, 0x5b, 0x82, 0x0f, 'D', 'E', 'V', '_', 0x14, 0x09, '_', 'S', 'T', 'A', 0x08, 0xa4,
             0x0a, 0x0f);
}
END_TEST

START_TEST(resource_descriptors)
{
    static const u32 irqs[] = {5, 10};
    struct blob res = {0}, out = {0};

    aml_res_io(&res, 0x3f8, 8);
    aml_res_irq(&res, 4);
    aml_res_dma(&res, 2);
    aml_res_memory32(&res, 0xfed00000, 0x400, true);
    ck_bytes(res, 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22, 0x10, 0, 0x2a, 4, 0, 0x86, 9, 0, 1, 0, 0,
             0xd0, 0xfe, 0, 4, 0, 0);
    aml_res_interrupts(&res, AML_IRQ_LEVEL_HIGH_SHARED, irqs, 2);
    ck_bytes(res, 0x89, 10, 0, 9, 2, 5, 0, 0, 0, 10, 0, 0, 0);
    aml_res_io_window(&res, (struct aml_window){0xd00, 0xffff});
    ck_bytes(res, 0x88, 13, 0, 1, 12, 3, 0, 0, 0, 0x0d, 0xff, 0xff, 0, 0, 0, 0xf3);
    aml_res_bus_window(&res, (struct aml_window){0, 255});
    ck_bytes(res, 0x88, 13, 0, 2, 12, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 1);
    aml_res_irq(&res, 1);
    aml_res_end(&out, &res);
    ck_bytes(out, 0x11, 8, 0x0a, 5, 0x22, 2, 0, 0x79, 0);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("aml");

    tcase_add_test(tcase, integers_take_the_shortest_form);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, eisa_id);
    tcase_add_test(tcase, package_length_boundaries);
    tcase_add_test(tcase, blocks_nest);
    tcase_add_test(tcase, resource_descriptors);
    return bench_main("bios/aml", tcase);
}
