/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of command-line options.
 *
 * Each function reads all of @text or nothing: no leading blanks, no sign, no rest. It returns 0
 * and stores to @out, or -EINVAL (not such a value) or -ERANGE (outside of @min and @max), stores
 * nothing, and puts one line, which says what is wrong and what is right, into @why (PARSE_WHY_MAX
 * bytes; may be NULL):
 *	--memory: "12Q" is not a size: bytes with an optional K, M, G or T (powers of 1024), as in 64M
 * @option is the option's name for that line. Numbers may have a fraction where there is a unit.
 */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

#define PARSE_WHY_MAX 256

/* Bytes: "4096", "64K", "1.5G". */
MUST_CHECK int parse_size(const char *option, const char *text, uint64_t min, uint64_t max,
			  uint64_t *out, char *why);

/* Things per second: "100", "64M", "64M/s"; "0" is a rate. "unlimited" is UINT64_MAX where @max is. */
MUST_CHECK int parse_rate(const char *option, const char *text, uint64_t min, uint64_t max,
			  uint64_t *out, char *why);

/* Milliseconds: "300", "300ms", "0.3s", "2m"; "250us" only as far as it is whole milliseconds.
 * "unlimited" is UINT64_MAX where @max is. */
MUST_CHECK int parse_duration_ms(const char *option, const char *text, uint64_t min, uint64_t max,
				 uint64_t *out, char *why);

/* A whole number, decimal or with 0x. */
MUST_CHECK int parse_u32(const char *option, const char *text, uint32_t min, uint32_t max,
			 uint32_t *out, char *why);
MUST_CHECK int parse_u64(const char *option, const char *text, uint64_t min, uint64_t max,
			 uint64_t *out, char *why);

/* "on" or "off" (also yes/no, true/false, 1/0): 1 or 0. */
MUST_CHECK int parse_switch(const char *option, const char *text, int *out, char *why);

/* One of the @count words: its place. */
MUST_CHECK int parse_word(const char *option, const char *text, const char *const *words,
			  unsigned count, unsigned *out, char *why);

#endif
