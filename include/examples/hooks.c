/* SPDX-License-Identifier: MIT
 *
 * Runs a few instructions of 64-bit guest code, watches what they store, and prints registers.
 *
 *   cc hooks.c $(pkg-config --cflags --libs lockstep) -o hooks
 */
#include <inttypes.h>
#include <lockstep.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_TABLES = 0x1000, CODE = 0x10000, DATA = 0x20000, MEMORY = 0x100000 };

/* Squares of 1 to 4 into an array, then HLT. */
static const uint8_t code[] = {
    0xb9, 0x01, 0x00, 0x00, 0x00,             /*       mov ecx, 1 */
    0x89, 0xc8,                               /* next: mov eax, ecx */
    0x0f, 0xaf, 0xc1,                         /*       imul eax, ecx */
    0x89, 0x04, 0x8d, 0x00, 0x00, 0x02, 0x00, /*       mov [DATA + rcx*4], eax */
    0xff, 0xc1,                               /*       inc ecx */
    0x83, 0xf9, 0x05,                         /*       cmp ecx, 5 */
    0x72, 0xed,                               /*       jb next */
    0xf4,                                     /*       hlt */
};

static void check(struct lockstep_machine *machine, enum lockstep_status status)
{
    if (status == LOCKSTEP_OK)
        return;
    fprintf(stderr, "%s\n", lockstep_error(machine));
    exit(1);
}

static void on_memory(void *opaque, unsigned cpu, const struct lockstep_access *access)
{
    (void)opaque;
    (void)cpu;
    if (access->kind == LOCKSTEP_WRITE)
        printf("store %" PRIu64 " at 0x%" PRIx64 "\n", access->value, access->linear);
}

int main(void)
{
    const struct lockstep_cpu_config config = {.size = sizeof(config)};
    const struct lockstep_hooks hooks = {.size = sizeof(hooks), .memory = on_memory};
    struct lockstep_result result = {.size = sizeof(result)};
    struct lockstep_machine *machine;
    struct lockstep_error error;
    uint64_t rax;

    if (lockstep_create_cpu(&config, &machine, &error) != LOCKSTEP_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    check(machine, lockstep_map_memory(machine, 0, MEMORY, LOCKSTEP_MEMORY_WRITE, NULL));
    check(machine, lockstep_write_physical(machine, CODE, code, sizeof(code)));
    check(machine, lockstep_enter_mode(machine, 0, 64, PAGE_TABLES));
    check(machine, lockstep_set_register(machine, 0, LOCKSTEP_RIP, CODE));
    check(machine, lockstep_set_hooks(machine, &hooks));
    check(machine, lockstep_stop_on_exception(machine, LOCKSTEP_ALL_VECTORS, true));
    check(machine, lockstep_run(machine, 1000, &result));
    check(machine, lockstep_get_register(machine, 0, LOCKSTEP_RAX, &rax));
    printf("%s after %" PRIu64 " instructions, rax = %" PRIu64 "\n",
           result.end == LOCKSTEP_END_HALTED ? "halted" : "ended", result.instructions, rax);
    lockstep_destroy(machine);
    return 0;
}
