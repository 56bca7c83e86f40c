/* SPDX-License-Identifier: MIT
 *
 * A small encoder of ACPI Machine Language (ACPI 6.3 chapter 20) and resource descriptors (6.4).
 *
 * Every function appends to a blob, in the order in which the bytes stand in the table. Blocks
 * (Scope, Device, Method, Package, If, Else, Field) begin with aml_begin_*(), which returns a mark,
 * and end with aml_end(mark), which inserts the package length. Names are in ASL notation:
 * "\\_SB.PCI0", "LNKA".
 */
#pragma once

#include "bios/blob.h"

/* Operands and operators that are one byte of AML (ACPI 6.3 section 20.2.5, 20.2.6). */
enum aml_op {
    AML_LOCAL0 = 0x60,
    AML_ARG0 = 0x68,
    AML_STORE = 0x70,
    AML_AND = 0x7b, /* operand, operand, target (AML_NO_TARGET: none) */
    AML_OR = 0x7d,
    AML_LNOT = 0x92,
    AML_RETURN = 0xa4,
    AML_NO_TARGET = 0x00,
};

enum aml_field_access { AML_BYTE_ACC = 1 };
enum aml_region_space { AML_PCI_CONFIG = 2 };

void aml_op(struct blob *out, enum aml_op op);
void aml_name(struct blob *out, const char *name); /* a reference: the NameString itself */
void aml_int(struct blob *out, u64 value);
void aml_string(struct blob *out, const char *text);
/* The compressed id of a 7-character EISA id: "PNP0A03". */
void aml_eisaid(struct blob *out, const char *id);
/* Name (name, ...): the value follows. */
void aml_def_name(struct blob *out, const char *name);
void aml_def_name_int(struct blob *out, const char *name, u64 value);

u64 aml_begin_scope(struct blob *out, const char *name);
u64 aml_begin_device(struct blob *out, const char *name);
u64 aml_begin_method(struct blob *out, const char *name, unsigned args, bool serialized);
u64 aml_begin_package(struct blob *out, unsigned count);
u64 aml_begin_if(struct blob *out);
u64 aml_begin_field(struct blob *out, const char *region, enum aml_field_access access);
void aml_end(struct blob *out, u64 mark);

void aml_region(struct blob *out, const char *name, enum aml_region_space space, u64 base,
                u64 size);
/* One named field of 1 to 63 bits inside a Field block. */
void aml_field_unit(struct blob *out, const char *name, unsigned bits);
/* CreateDWordField (source, byte_offset, name); source is an argument or a local. */
void aml_create_dword_field(struct blob *out, u64 byte_offset, const char *name,
                            enum aml_op source);

/* Resource templates: descriptors are appended to a blob of their own, then written as a Buffer. */
struct aml_window {
    u64 min;
    u64 max; /* inclusive */
};
enum aml_irq_flags { AML_IRQ_LEVEL_HIGH_SHARED = 0x09 }; /* with the ResourceConsumer bit */

void aml_res_io(struct blob *res, u16 base, u8 size);
void aml_res_irq(struct blob *res, unsigned irq);
void aml_res_dma(struct blob *res, unsigned channel);
void aml_res_interrupts(struct blob *res, u8 flags, const u32 *irqs, unsigned count);
void aml_res_memory32(struct blob *res, u32 base, u32 size, bool writable);
/* Windows that a bridge passes on (ResourceProducer, fixed ends). */
void aml_res_bus_window(struct blob *res, struct aml_window window);
void aml_res_io_window(struct blob *res, struct aml_window window);
void aml_res_memory_window32(struct blob *res, struct aml_window window);
void aml_res_memory_window64(struct blob *res, struct aml_window window);
/* Ends the template, writes it as a Buffer and frees res. */
void aml_res_end(struct blob *out, struct blob *res);
