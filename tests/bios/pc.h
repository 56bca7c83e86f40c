/* SPDX-License-Identifier: MIT
 *
 * A platform configuration for tests of what is handed over to firmware and kernels.
 */
#pragma once

#include "bench.h"
#include "bios/platform.h"

static inline void pc_build(struct platform *platform, const struct ram_layout *layout)
{
    struct platform_config config = {.layout = *layout, .cpu_count = 2, .max_cpus = 2};
    struct error err;

    bench_acpi_config(&config.acpi, layout);
    config.smbios = (struct smbios_config){
        .uuid = {1, 2, 3}, .version = "0", .sockets = 1, .cores = 2, .threads = 2};
    config.smbios.layout = *layout;
    ck_assert_int_eq(platform_build(platform, &config, &err), ST_OK);
}
