/* SPDX-License-Identifier: MIT
 *
 * With libFuzzer: FUZZ_SEEDS=DIRECTORY in the environment writes the target's seeds there as files
 * and ends, so that no corpus has to be kept in the repository.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *directory = getenv("FUZZ_SEEDS");
    u8 bytes[FUZZ_SIZE_MAX];
    size_t size;

    (void)argc, (void)argv;
    if (!directory)
        return 0;
    for (unsigned n = 0; (size = fuzz_seed(n, bytes, sizeof(bytes))); n++) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof(path), "%s/seed-%u", directory, n);
        file = fopen(path, "wb");
        if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) {
            fprintf(stderr, "%s cannot be written: %m\n", path);
            exit(1);
        }
    }
    exit(0);
}
