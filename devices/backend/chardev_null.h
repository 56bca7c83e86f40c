/* SPDX-License-Identifier: MIT
 *
 * The back end that swallows all output and never has input.
 */
#pragma once

#include "devices/chardev.h"

MUST_USE enum status chardev_null_create(struct chardev **c, struct error *err);
