/* SPDX-License-Identifier: MIT
 *
 * Reports of shards (tests/conformance/FORMAT.md, Reports) joined to the report of their campaign.
 */
#pragma once

#include "frontend/conform/report.h"

/* Reads a report. On failure "FILE:LINE: " and one sentence; *r is then NULL. */
MUST_USE enum status merge_read(const char *file, struct report **r, struct error *err);
/* Adds what a shard found to sum, which began as the first shard's report. Fails with one sentence,
 * which names file and first, unless both are of one campaign. */
MUST_USE enum status merge_add(struct report *sum, const char *first, struct report *shard,
                               const char *file, struct error *err);
