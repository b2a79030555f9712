/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The entry point libFuzzer calls (https://llvm.org/docs/LibFuzzer.html); fuzz-main.c calls it too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
