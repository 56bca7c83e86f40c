/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform`: the subcommands. Each parses its own arguments (argv[0] is its name) and
 * returns the exit status: 0 no unexplained difference, 2 differences, 1 usage or set-up (one
 * sentence on standard error).
 */
#pragma once

enum conform_status { CONFORM_OK = 0, CONFORM_USAGE = 1, CONFORM_DIFFERENT = 2 };

/* argv[0] is "conform". */
int conform_main(int argc, char **argv);

int conform_run(int argc, char **argv);      /* run.c: single instructions against the host */
int conform_sequence(int argc, char **argv); /* run.c: random sequences */
int conform_gen(int argc, char **argv);      /* gen.c: writes vectors */
int conform_check(int argc, char **argv);    /* check.c: checks vector files */
int conform_cpuid(int argc, char **argv);    /* cpuid_probe.c: advertised and hidden features */
int conform_decode(int argc, char **argv);   /* decode_check.c: the decoder against Capstone */
int conform_system(int argc, char **argv);   /* system.c: the bare-metal suite */
int conform_merge(int argc, char **argv);    /* merge.c: joins reports of shards */
