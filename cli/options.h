/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options of a subcommand as a table: one row names an option, the kind of its value, its range
 * and the member of a struct that takes it. argp reads the command line; a wrong value, an unknown
 * option or an argument too many is one line on standard error.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define OPTIONS_ROWS_MAX 32
#define OPTIONS_ARGS_MAX 65 /* the devices of a VM, and an address */
#define OPTION_LIST_MAX  64

enum option_kind {
	OPTION_SIZE,     /* uint64_t, bytes */
	OPTION_RATE,     /* uint64_t, per second; "unlimited" where max is UINT64_MAX */
	OPTION_DURATION, /* uint64_t, ms; likewise */
	OPTION_U32,      /* uint32_t */
	OPTION_WORD,     /* unsigned: the place of the value among words */
	OPTION_TEXT,     /* const char *: the argument itself, not empty */
	OPTION_LIST,     /* struct option_list: the same, each time that it is given */
	OPTION_FLAG,     /* bool, takes no value */
};

struct option_list {
	unsigned count;
	const char *text[OPTION_LIST_MAX];
};

struct option_row {
	const char *name; /* without dashes */
	char key;         /* short option, 0: none */
	enum option_kind kind;
	size_t offset;    /* of the member in the target struct */
	uint64_t min;
	uint64_t max;
	const char *value; /* what help calls the value */
	const char *help;  /* NULL: not shown in help */
	const char *const *words; /* OPTION_WORD: NULL-terminated */
};

struct options {
	const char *args; /* what help says behind the options, "" for no arguments */
	const char *doc;
	const struct option_row *rows;
	unsigned row_count;
	unsigned arg_count; /* arguments that may be given, up to OPTIONS_ARGS_MAX */
	size_t args_offset; /* of an array of const char * in the target struct */
};

/*
 * Read the command line into @target, whose members hold the defaults. 0, or -EINVAL after one
 * line on standard error. --help and --version print and end the process, as argp does.
 */
int options_parse(const struct options *options, int argc, char **argv, void *target);

#endif
