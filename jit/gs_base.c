/* SPDX-License-Identifier: MIT
 *
 * The segment base that translated code finds the vCPU by. A file of its own because <sys/auxv.h>
 * brings ELF's names along.
 */
#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jit/gs_base.h"

enum { FSGSBASE = 1 << 1 }; /* AT_HWCAP2: user code may write the base */

void jit_set_gs_base(const void *base, bool by_call)
{
    if (!by_call && (getauxval(AT_HWCAP2) & FSGSBASE))
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
