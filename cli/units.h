/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers for people. Each function fills @buffer and returns it; UNITS_SIZE bytes are enough. */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdint.h>

#define UNITS_SIZE 32

/* "0 B", "4.00 KiB", "64.0 MiB", "1.25 GiB": three digits, so that columns keep their width. */
char *units_bytes(char buffer[UNITS_SIZE], uint64_t bytes);

/* "812 MiB/s". */
char *units_rate(char buffer[UNITS_SIZE], uint64_t bytes_per_second);

/* "0.125 ms", "31.4 ms", "2.35 s", "-" for a negative @ms, which stands for "not known". */
char *units_ms(char buffer[UNITS_SIZE], double ms);

/* "65,536". */
char *units_count(char buffer[UNITS_SIZE], uint64_t count);

#endif
