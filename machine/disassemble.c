/* SPDX-License-Identifier: MIT
 *
 * Machine code as text, for the traces of the translator.
 */
#include "machine/disassemble.h"

#include <capstone/capstone.h>
#include <stdio.h>

unsigned machine_disassemble(unsigned code_size, const u8 *code, size_t size, u64 address,
                             char *text, size_t text_size)
{
    cs_mode mode = code_size == 8 ? CS_MODE_64 : code_size == 4 ? CS_MODE_32 : CS_MODE_16;
    unsigned length = 0;
    cs_insn *found;
    size_t count;
    csh capstone;

    if (cs_open(CS_ARCH_X86, mode, &capstone) != CS_ERR_OK)
        return 0;
    count = cs_disasm(capstone, code, size, address, 1, &found);
    if (count) {
        length = found->size;
        snprintf(text, text_size, "%s%s%s", found->mnemonic, found->op_str[0] ? " " : "",
                 found->op_str);
        cs_free(found, count);
    }
    cs_close(&capstone);
    return length;
}
