/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "frontend/conform/singlestep.h"

static const struct {
    const char *name;
    u8 index;
    u32 max;
} registers[] = {
    {"cr0", SSR_CR0, UINT32_MAX}, {"cr3", SSR_CR3, UINT32_MAX}, {"eax", SSR_EAX, UINT32_MAX},
    {"ebx", SSR_EBX, UINT32_MAX}, {"ecx", SSR_ECX, UINT32_MAX}, {"edx", SSR_EDX, UINT32_MAX},
    {"esi", SSR_ESI, UINT32_MAX}, {"edi", SSR_EDI, UINT32_MAX}, {"ebp", SSR_EBP, UINT32_MAX},
    {"esp", SSR_ESP, UINT32_MAX}, {"cs", SSR_CS, UINT32_MAX},   {"ds", SSR_DS, UINT32_MAX},
    {"es", SSR_ES, UINT32_MAX},   {"fs", SSR_FS, UINT32_MAX},   {"gs", SSR_GS, UINT32_MAX},
    {"ss", SSR_SS, UINT32_MAX},   {"eip", SSR_EIP, UINT32_MAX}, {"eflags", SSR_EFLAGS, UINT32_MAX},
    {"dr6", SSR_DR6, UINT32_MAX}, {"dr7", SSR_DR7, UINT32_MAX}, {"ax", SSR_EAX, 0xffff},
    {"bx", SSR_EBX, 0xffff},      {"cx", SSR_ECX, 0xffff},      {"dx", SSR_EDX, 0xffff},
    {"si", SSR_ESI, 0xffff},      {"di", SSR_EDI, 0xffff},      {"bp", SSR_EBP, 0xffff},
    {"sp", SSR_ESP, 0xffff},      {"ip", SSR_EIP, 0xffff},      {"flags", SSR_EFLAGS, 0xffff},
};

static enum status read_registers(const struct json_text *t, const json_t *list,
                                  struct singlestep_state *s, struct error *err)
{
    const char *name;
    json_t *value;
    enum status st;

    json_object_foreach((json_t *)list, name, value)
    {
        u64 number = 0;
        unsigned i = 0;

        while (i < ARRAY_SIZE(registers) && strcmp(registers[i].name, name))
            i++;
        if (i == ARRAY_SIZE(registers))
            return json_text_error(t, name, err,
                                   "\"%.40s\" is no register of an 8086, 80286 or 80386.", name);
        st = json_text_number(t, list, name, registers[i].max, &number, err);
        if (st)
            return st;
        s->present |= 1u << registers[i].index;
        s->value[registers[i].index] = (u32)number;
    }
    return ST_OK;
}

static enum status read_ram(const struct json_text *t, const json_t *list,
                            struct singlestep_state *s, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) > SINGLESTEP_RAM_MAX)
        return json_text_error(t, "ram", err,
                               "\"ram\" must be a list of at most %d [address, value] pairs.",
                               SINGLESTEP_RAM_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        const json_t *address = json_array_get(pair, 0), *value = json_array_get(pair, 1);

        if (json_array_size(pair) != 2 || !json_is_integer(address) || !json_is_integer(value) ||
            json_integer_value(address) < 0 || json_integer_value(address) > UINT32_MAX ||
            json_integer_value(value) < 0 || json_integer_value(value) > 255)
            return json_text_error(t, "ram", err,
                                   "entry %zu of \"ram\" must be [address, value], value at most "
                                   "255.",
                                   i);
        s->ram[s->ram_count++] = (struct singlestep_byte){
            .address = (u32)json_integer_value(address), .value = (u8)json_integer_value(value)};
    }
    return ST_OK;
}

static enum status read_state(const struct json_text *t, const json_t *object, const char *key,
                              struct singlestep_state *s, struct error *err)
{
    static const char *const keys[] = {"regs", "ram", "queue", "ea", "masks", NULL};
    const json_t *state = json_object_get(object, key);
    const json_t *regs = json_object_get(state, "regs"), *ram = json_object_get(state, "ram");
    enum status st;

    if (!json_is_object(state) || !json_is_object(regs) || !ram)
        return json_text_error(t, key, err, "\"%s\" must be an object with \"regs\" and \"ram\".",
                               key);
    if ((st = json_text_known(t, state, "a state", keys, err)) ||
        (st = read_registers(t, regs, s, err)))
        return st;
    return read_ram(t, ram, s, err);
}

static enum status read_bytes(const struct json_text *text, const json_t *object,
                              struct singlestep_test *t, struct error *err)
{
    const json_t *bytes = json_object_get(object, "bytes");

    t->byte_count = (u32)json_array_size(bytes);
    if (!t->byte_count || t->byte_count > SINGLESTEP_BYTES_MAX)
        return json_text_error(text, "bytes", err, "\"bytes\" must be a list of 1 to %d numbers.",
                               SINGLESTEP_BYTES_MAX);
    for (u32 i = 0; i < t->byte_count; i++) {
        const json_t *byte = json_array_get(bytes, i);

        if (!json_is_integer(byte) || json_integer_value(byte) < 0 ||
            json_integer_value(byte) > 255)
            return json_text_error(text, "bytes", err,
                                   "entry %u of \"bytes\" must be a number from 0 to 255.", i);
        t->bytes[i] = (u8)json_integer_value(byte);
    }
    return ST_OK;
}

static enum status read_exception(const struct json_text *text, const json_t *object,
                                  struct singlestep_test *t, struct error *err)
{
    static const char *const keys[] = {"number", "flag_address", "flag_addr", NULL};
    const json_t *exception = json_object_get(object, "exception");
    u64 number = 256, address = 0;
    enum status st;

    if (!exception || json_is_null(exception))
        return ST_OK;
    if ((st = json_text_known(text, exception, "\"exception\"", keys, err)) ||
        (st = json_text_number(text, exception, "number", 255, &number, err)) ||
        (st = json_text_number(text, exception, "flag_address", UINT32_MAX, &address, err)) ||
        (st = json_text_number(text, exception, "flag_addr", UINT32_MAX, &address, err)))
        return st;
    if (number > 255)
        return json_text_error(text, "exception", err, "\"exception\" needs its \"number\".");
    t->has_exception = true;
    t->exception = (u8)number;
    t->flag_address = (u32)address;
    return ST_OK;
}

static enum status read_hash(const struct json_text *text, const json_t *object,
                             struct singlestep_test *t, struct error *err)
{
    const json_t *field = json_object_get(object, "hash");
    const char *hash = json_string_value(field);

    if (!field)
        return ST_OK;
    for (unsigned i = 0; hash && i < sizeof(t->hash); i++)
        if (strspn(hash, "0123456789abcdefABCDEF") != 2 * sizeof(t->hash) ||
            sscanf(hash + 2 * i, "%2hhx", &t->hash[i]) != 1)
            hash = NULL;
    if (!hash || hash[2 * sizeof(t->hash)])
        return json_text_error(text, "hash", err,
                               "\"hash\" must be a string of 40 hexadecimal digits.");
    t->has_hash = true;
    return ST_OK;
}

enum status singlestep_json_parse(const struct json_text *text, const json_t *object,
                                  struct singlestep_test *t, struct error *err)
{
    static const char *const keys[] = {"name",     "bytes",     "initial",   "final",
                                       "cycles",   "hash",      "test_hash", "idx",
                                       "test_num", "exception", NULL};
    const char *name = json_string_value(json_object_get(object, "name"));
    u64 index = 0;
    enum status st;

    t->position = text->item_line;
    if ((st = json_text_known(text, object, "a test", keys, err)) ||
        (st = json_text_number(text, object, "idx", UINT32_MAX, &index, err)) ||
        (st = read_bytes(text, object, t, err)) ||
        (st = read_state(text, object, "initial", &t->initial, err)) ||
        (st = read_state(text, object, "final", &t->final, err)) ||
        (st = read_exception(text, object, t, err)) || (st = read_hash(text, object, t, err)))
        return st;
    t->index = (u32)index;
    snprintf(t->name, sizeof(t->name), "%s", name ? name : "");
    return ST_OK;
}
