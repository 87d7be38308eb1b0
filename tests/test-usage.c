/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of vfio-migrate: a wrong value is one line and exit status 2, for every option
 * of every command. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "tests/program.h"

#define WAIT_MS 20000

static struct program_run run;

static void expect_usage_error(const char *args)
{
	const char *newline;

	program_run(&run, args, WAIT_MS);
	newline = strchr(run.output, '\n');
	if (run.status != 2 || !newline || newline[1] || strncmp(run.output, "vfio-migrate", 12))
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_int_equal(run.status, 2);
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
	assert_memory_equal(run.output, "vfio-migrate", 12);
}

/* A row per option: its command, the option, and values that it must refuse. */
static const struct {
	const char *command;
	const char *option;
	const char *wrong[6];
} rows[] = {
	{"demo", "--memory", {"", "0", "1M", "65G", "12Q", "-1"}},
	{"demo", "--cpus", {"", "0", "17", "one"}},
	{"demo", "--accel", {"", "tcg"}},
	{"demo", "--dirty-rate", {"", "0", "-1", "9G", "fast"}},
	{"demo", "--state-size", {"", "0", "17G", "x"}},
	{"demo", "--initial-size", {"", "17G", "65M", "x"}},
	{"demo", "--state-dirty-rate", {"", "9G", "x"}},
	{"demo", "--dma-rate", {"", "0", "1000001", "1k"}},
	{"demo", "--downtime-limit", {"", "0", "-1", "soon"}},
	{"demo", "--timeout", {"", "0", "-1", "soon"}},
	{"demo", "--bandwidth", {"", "0", "4095", "x"}},
	{"demo", "--devices", {"", "0", "65", "two"}},
	{"demo", "--personality", {"", "nobody"}},
	{"demo --devices=2", "--p2p", {"1"}},
	{"demo", "--reinit", {"", "sometimes", "after=x"}},
	{"demo", "--arc-latency", {"", "RUNNING", "RUNNING:STOP=x"}},
	{"demo", "--sim", {""}},
	{"demo", "--switchover-ack", {"", "on"}},
	{"demo", "--transition-estimate", {"", "-1", "61s"}},
	{"demo", "--parallel-transitions", {"", "both"}},
	{"demo", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"demo", "--quiet", {"1"}},
	{"demo", "--spoil", {"", "nothing"}},
	{"migrate --vm=x tcp:h:1", "--downtime-limit", {"", "0", "-1", "soon"}},
	{"migrate --vm=x tcp:h:1", "--bandwidth", {"", "0", "4095", "x"}},
	{"migrate --vm=x tcp:h:1", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"migrate", "--vm", {""}},
	{"migrate --vm=x", "--cancel", {"1"}},
	{"migrate --vm=x", "--status", {"1"}},
	{"info x/y", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"info x/y", "--quiet", {"1"}},
	{"blockers x/y", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"blockers x/y", "--quiet", {"1"}},
	{"check x/y", "--only", {"", "nothing"}},
	{"check x/y", "--skip", {"", "nothing"}},
	{"check x/y", "--stress", {"", "0", "86401", "x"}},
	{"check x/y", "--hold", {"", "RUNNIN", "waiting"}},
	{"check x/y", "--timeout", {"", "0", "86401", "x"}},
	{"check x/y", "--seed", {"", "-1", "x", "1x", "18446744073709551616"}},
	{"check x/y", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"check x/y", "--junit", {"", "/nowhere/at/all", "/tmp"}},
	{"check x/y", "--latency", {"1"}},
	{"check x/y", "--yes", {"1"}},
	{"check x/y", "--list", {"1"}},
	{"check x/y", "--quiet", {"1"}},
	{"save x/y f", "--quiet", {"1"}},
	{"restore x/y f", "--limit", {"", "0", "2T", "x"}},
	{"restore x/y f", "--stopped", {"1"}},
	{"restore x/y f", "--quiet", {"1"}},
	{"compat x/y x/z", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"compat x/y x/z", "--quiet", {"1"}},
	{"send x/y tcp:h:1", "--downtime-limit", {"", "0", "-1", "soon"}},
	{"send x/y tcp:h:1", "--bandwidth", {"", "0", "4095", "x"}},
	{"send x/y tcp:h:1", "--timeout", {"", "0", "x"}},
	{"send x/y tcp:h:1", "--unknown-stop-copy-size", {"", "-1", "unlimited"}},
	{"send x/y tcp:h:1", "--switchover-ack", {"", "on"}},
	{"send x/y tcp:h:1", "--serial-transitions", {"1"}},
	{"send x/y tcp:h:1", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"send x/y tcp:h:1", "--quiet", {"1"}},
	{"recv x/y tcp:h:1", "--switchover-ack", {"", "on"}},
	{"recv x/y tcp:h:1", "--serial-transitions", {"1"}},
	{"recv x/y tcp:h:1", "--json", {"", "/nowhere/at/all", "/tmp"}},
	{"recv x/y tcp:h:1", "--quiet", {"1"}},
	{"replay x", "--downtime-limit", {"", "0", "-1", "soon", "18446744073709551"}},
	{"replay x", "--json", {""}},
	{"replay x", "--quiet", {"1"}},
	{"vm", "--memory", {"", "0", "7M", "257G", "8193K", "12Q"}},
	{"vm", "--cpus", {"", "0", "17", "one"}},
	{"vm", "--accel", {"", "tcg"}},
	{"vm", "--device", {"", ",name=x", "x,name="}},
	{"vm --device=x,name=a", "--device", {"y,name=a"}},
	{"vm", "--vfio", {"", ",name=x", "0000:01:00.0,name=", "0000:01:00.0,irq=nmi", "card"}},
	{"vm --device=x,name=a", "--vfio", {"0000:01:00.0,irq=msi,name=a", "0000:01:00.0,x"}},
	{"vm", "--vfio-way", {"", "door"}},
	{"vm", "--working-set", {"", "257G", "x"}},
	{"vm", "--dirty-rate", {"", "-1", "2T", "x"}},
	{"vm", "--control", {""}},
	{"vm", "--incoming", {"", "4444", "host:4444", "tcp:h", "unix:", "fd:x"}},
	{"vm --incoming=tcp:h:1", "--paused", {"1"}},
	{"vm", "--verify", {"1"}},
	{"vm", "--p2p", {"1"}},
	{"vm", "--serial", {""}},
	{"vm", "--quiet", {"1"}},
	{"vm", "--peer-timeout", {"", "0", "x"}},
	{"vm", "--standstill-timeout", {"", "0", "x"}},
	{"vm", "--doubt-timeout", {"", "0", "x"}},
	{"vm", "--downtime-limit", {"", "0", "-1", "soon"}},
	{"vm", "--max-bandwidth", {"", "0", "x"}},
	{"vm", "--max-rounds", {"", "0", "-1", "many"}},
	{"vm", "--timeout", {"", "0", "x"}},
	{"vm", "--unknown-stop-copy-size", {"", "-1", "unlimited"}},
	{"vm", "--device-chunk", {"", "1K", "2M", "5000"}},
	{"vm", "--switchover-ack", {"", "on", "always"}},
	{"vm", "--profile", {"", "0", "5", "new"}},
	{"vm", "--max-switchover-attempts", {"", "0", "x"}},
	{"vm", "--transition-estimate", {"", "-1", "x"}},
	{"vm", "--parallel-transitions", {"", "both"}},
	{"vm", "--die-at", {"", "release", "x"}},
	{"vm --incoming=tcp:h:1", "--spoil", {"", "nothing"}},
	{"sim --socket=x", "--fd", {"", "-1", "x", "3"}},
	{"sim", "--socket", {""}},
	{"sim --socket=x", "--once", {"1"}},
	{"sim --socket=x", "--reset-on-disconnect", {"1"}},
	{"sim --socket=x", "--max-transfer", {"", "0", "1K", "17M"}},
	{"sim --socket=x", "--no-extension", {"1"}},
	{"sim --socket=x", "--personality", {"", "nobody"}},
	{"sim --socket=x", "--state-size", {"", "0", "65G", "x"}},
	{"sim --socket=x", "--dirty-rate", {"", "9G", "x"}},
	{"sim --socket=x", "--dma-rate", {"", "-1", "10000001"}},
	{"sim --socket=x", "--vectors", {"", "0", "65"}},
	{"sim --socket=x", "--seed", {"", "x"}},
	{"sim --socket=x", "--tick-us", {"", "99", "1000001"}},
	{"sim --socket=x", "--no-dma-logging", {"1"}},
	{"sim --socket=x", "--migration", {"", "p2p", "stop-copy,x"}},
	{"sim --socket=x", "--initial-size", {"", "65M", "x"}},
	{"sim --socket=x", "--arc-latency", {"", "RUNNING", "RUNNING:STOP", "RUNNING:STOP=x", "A:B=1"}},
	{"sim --socket=x", "--load-cost-us-per-mib", {"", "x"}},
	{"sim --socket=x", "--load-at", {"", "never"}},
	{"sim --socket=x", "--corrupt-stream", {"x"}},
	{"sim --socket=x", "--fail-arc", {"", "RUNNING:STOP=EWHAT", "RUNNING:STOP=EIO@0"}},
	{"sim --socket=x", "--die-after-bytes", {"", "0", "x"}},
	{"sim --socket=x", "--mutant", {"", "nothing"}},
	{"sim --socket=x", "--die-in", {"", "NOWHERE"}},
};

static void a_wrong_value_is_one_line(void **state)
{
	char args[256];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (j = 0; j < ARRAY_SIZE(rows[i].wrong) && rows[i].wrong[j]; j++) {
			snprintf(args, sizeof(args), "%s %s=%s", rows[i].command, rows[i].option,
				 rows[i].wrong[j]);
			expect_usage_error(args);
			/* It is the option that is complained about. */
			assert_non_null(strstr(run.output, rows[i].option));
		}
}

static void a_wrong_line_is_one_line(void **state)
{
	static const char *const lines[] = {
		"nothing",
		"--nothing",
		"help nothing",
		"demo --nothing",
		"demo -x",
		"demo argument",
		"demo --p2p",
		"demo --devices=2 --p2p --personality=mtty",
		"demo --sim=nothing=1",
		"demo --sim=load-cost-us-per-mib=x",
		"vm --p2p",
		"info",
		"info nothing",
		"info /dev/null",
		"info unix:",
		"info fd:x",
		"info fd:-1",
		"info x/y,name=",
		"info x/y x/y",
		"info x/y,name=a z,name=a",
		"info 0000:01:00",
		"info --nothing",
		"blockers",
		"blockers nothing",
		"blockers x/y,name=a x/z,name=a",
		"check",
		"check nothing",
		"check x/y",
		"check --yes x/y x/y",
		"check --yes x/y x/z x/a",
		"check --yes --json=- --junit=- x/y",
		"save",
		"save x/y",
		"save nothing f",
		"save x/y f g",
		"restore",
		"restore x/y",
		"restore nothing f",
		"compat",
		"compat x/y",
		"compat nothing x/y",
		"compat x/y z/y a/b",
		"send",
		"send x/y",
		"send x/y h:1",
		"send x/y tcp:h",
		"send x/y tcp:h:x",
		"send x/y tcp:h:65536",
		"send x/y unix:",
		"send x/y fd:x",
		"send nothing tcp:h:1",
		"send tcp:h:1",
		"send x/y,name=a x/z,name=a tcp:h:1",
		"recv",
		"recv x/y",
		"recv x/y h:1",
		"recv x/y tcp:h",
		"recv x/y tcp:::1:1",
		"recv x/y unix:",
		"recv nothing tcp:h:1",
		"migrate",
		"migrate tcp:h:1",
		"migrate --vm",
		"migrate --vm=x h:1",
		"migrate --vm=x tcp:h",
		"migrate --vm=x unix:",
		"migrate --vm=x fd:0",
		"migrate --vm=x tcp:h:1 tcp:h:2",
		"migrate --vm=x --cancel --status",
		"migrate --vm=x --cancel tcp:h:1",
		"replay",
		"replay /nonexistent/file",
		"replay x y",
		"sim",
		"sim --socket=x argument",
		"sim --socket=x --nothing",
		"vm --nothing",
		"vm argument",
		"vm --paused --incoming=tcp:h:1",
		"vm --spoil=memory",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++)
		expect_usage_error(lines[i]);
}

static void help_and_version(void **state)
{
	static const char *const lines[] = {
		"--help",	"help",	    "-h",	  "help demo",	  "help sim",
		"help vm",	"help migrate", "demo --help", "sim --help", "vm --help",
		"help info",	"help blockers", "help save",	  "help restore", "help compat",
		"help send",	"help recv",	 "help check",	  "check --list",
		"migrate --help", "--version", "-V",	  "demo --version",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		program_run(&run, lines[i], WAIT_MS);
		if (run.status)
			print_error("%s: status %d:\n%s", lines[i], run.status, run.output);
		assert_int_equal(run.status, 0);
		assert_int_not_equal(strlen(run.output), 0);
	}
	program_run(&run, "", WAIT_MS);
	assert_int_equal(run.status, 2);
	assert_ptr_equal(strstr(run.output, "Usage: "), run.output);
}

/* ---- manual pages ---- */

#define PAGE_MAX 65536

/* vfio-migrate.1, or that of a command, without the backslashes of its dashes. An option --name is
 * "Fl -name" there. */
static void read_page(const char *command, char page[PAGE_MAX])
{
	char path[512], *to = page;
	size_t size;
	FILE *in;

	snprintf(path, sizeof(path), "%s/vfio-migrate%s%s.1", getenv("MAN_PAGES"),
		 *command ? "-" : "", command);
	in = fopen(path, "r");
	if (!in)
		fail_msg("%s: there is none", path);
	size = fread(page, 1, PAGE_MAX - 1, in);
	fclose(in);
	for (size_t i = 0; i < size; i++)
		if (page[i] != '\\')
			*to++ = page[i];
	*to = '\0';
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '-';
}

/* Is @word there as a whole? */
static bool has_word(const char *text, const char *word)
{
	const char *at = text;

	for (; (at = strstr(at, word)); at++)
		if ((at == text || !is_word(at[-1])) && !is_word(at[strlen(word)]))
			return true;
	return false;
}

/* The next line of argp's help that begins with an option, and its long name; NULL: none. */
static const char *next_option(const char *help, char name[64])
{
	const char *at, *dashes;
	size_t length = 0;

	for (at = help; at; at = strchr(at, '\n')) {
		at += strspn(at, "\n");
		dashes = at + strspn(at, " ");
		if (dashes[0] == '-' && dashes[1] != '-') /* -q, --quiet */
			dashes += strspn(dashes + 2, ", ") + 2;
		if (dashes == at || strncmp(dashes, "--", 2))
			continue;
		while (is_word(dashes[length]) && length < 63)
			length++;
		snprintf(name, 64, "%.*s", (int)length, dashes);
		return dashes;
	}
	return NULL;
}

/* What every command has is in vfio-migrate(1). */
static bool is_everywhere(const char *name)
{
	return !strcmp(name, "--help") || !strcmp(name, "--usage") || !strcmp(name, "--version");
}

static void compare_with_page(const char *command, const char *general)
{
	static char page[PAGE_MAX];
	char args[64], name[64], *rest;
	const char *at = run.output;
	unsigned options = 0;

	snprintf(args, sizeof(args), "help %s", command);
	program_run(&run, args, WAIT_MS);
	assert_int_equal(run.status, 0);
	read_page(command, page);
	rest = strstr(page, ".Sh DESCRIPTION");
	assert_non_null(rest);
	for (; (at = next_option(at, name)); at += strlen(name), options++)
		if (!has_word(is_everywhere(name) ? general : rest, name + 1))
			fail_msg("%s %s is not in its manual page", command, name);
	assert_true(options >= 4); /* --quiet or another one, and those of every command */
}

/* Every command that vfio-migrate --help lists, with each option of its own. */
static void help_and_manual_agree(void **state)
{
	static const char *const commands[] = {
		"demo", "sim",	   "vm",   "migrate", "info",	"blockers", "check",
		"save", "restore", "send", "recv",    "compat", "replay"};
	static char general[PAGE_MAX];
	unsigned listed = 0;

	if (!getenv("MAN_PAGES"))
		skip();
	read_page("", general);
	program_run(&run, "--help", WAIT_MS);
	for (const char *at = run.output; (at = strstr(at, "\n  ")); at++)
		listed += at[3] >= 'a' && at[3] <= 'z';
	assert_int_equal(listed, ARRAY_SIZE(commands) + 1); /* and help */
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		assert_true(has_word(general, commands[i]));
		compare_with_page(commands[i], general);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_value_is_one_line),
		cmocka_unit_test(a_wrong_line_is_one_line),
		cmocka_unit_test(help_and_version),
		cmocka_unit_test(help_and_manual_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
