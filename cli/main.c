/* SPDX-License-Identifier: BSD-3-Clause */
/* The program vfio-migrate: finds the subcommand and hands over. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "commands.h"
#include "exit.h"

#define TITLE_MAX 64

const char *argp_program_version = "vfio-migrate " VFM_VERSION_TEXT;

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"demo", demo_main, "migrate a live guest between two processes, and check it"},
	{"sim", sim_main, "be a simulated device (a vfio-user server)"},
	{"vm", vm_main, "run a guest with devices, or wait for one to come in"},
	{"migrate", migrate_main, "start, follow, cancel a migration of a running VM"},
	{"info", info_main, "show what devices are and what a migration would find in them"},
	{"blockers", blockers_main, "say what stands against migrating devices"},
	{"check", check_main, "check a device against the rules of the migration protocol"},
	{"save", save_main, "save a device's state into a file"},
	{"restore", restore_main, "restore a device from a file"},
	{"send", send_main, "migrate devices alone, without a VM"},
	{"recv", recv_main, "wait for devices that are sent alone"},
	{"compat", compat_main, "say whether one device would take the state of another"},
	{"replay", replay_main, "decide again on a recorded migration when to switch over"},
};

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void print_help(FILE *out)
{
	size_t i;

	fputs("Usage: vfio-migrate COMMAND [OPTION...]\n"
	      "Live migration of VFIO and vfio-user devices, and of the VM around them.\n\n", out);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n  help COMMAND  the options of a command\n"
	      "  --version     the version\n\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 in doubt, 4 cancelled, 5 a check\n"
	      "failed, 6 control socket lost; vfio-migrate(1) tells more.\n", out);
}

static int complain(const char *what, const char *name)
{
	fprintf(stderr, "vfio-migrate: %s \"%.64s\"; vfio-migrate --help lists the commands\n", what,
		name);
	return CLI_EXIT_USAGE;
}

/* The command sees its whole name as argv[0], which is what its messages begin with. */
static int run(const struct command *command, int argc, char **argv)
{
	static char title[TITLE_MAX];

	snprintf(title, sizeof(title), "vfio-migrate %s", command->name);
	argv[0] = title;
	argp_err_exit_status = CLI_EXIT_USAGE;
	return command->main(argc, argv);
}

static int help(int argc, char **argv)
{
	const struct command *command = argc > 2 ? find(argv[2]) : NULL;
	static char option[] = "--help";
	char *args[] = {NULL, option, NULL};

	if (argc > 2 && !command)
		return complain("no command", argv[2]);
	if (command)
		return run(command, 2, args);
	print_help(stdout);
	return CLI_EXIT_OK;
}

/* What was said has to arrive, whichever way the program ends: a full disk is no success. */
static void close_output(void)
{
	if (!ferror(stdout) && !fflush(stdout))
		return;
	fprintf(stderr, "vfio-migrate: writing standard output: %s\n", strerror(errno));
	_exit(CLI_EXIT_FAILED);
}

int main(int argc, char **argv)
{
	const struct command *command;

	atexit(close_output);
	if (argc < 2) {
		print_help(stderr);
		return CLI_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help(argc, argv);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts(argp_program_version);
		return CLI_EXIT_OK;
	}
	command = find(argv[1]);
	if (!command)
		return complain(argv[1][0] == '-' ? "no option" : "no command", argv[1]);
	return run(command, argc - 1, argv + 1);
}
