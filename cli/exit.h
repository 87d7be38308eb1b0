/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program's exit status says, for every subcommand; vfio-migrate(1) has the same list. */
#ifndef CLI_EXIT_H
#define CLI_EXIT_H

enum cli_exit {
	CLI_EXIT_OK = 0,        /* done, and every check held */
	CLI_EXIT_FAILED = 1,    /* it failed; a guest that was to migrate runs on at the source */
	CLI_EXIT_USAGE = 2,     /* an option or argument is wrong; nothing was started */
	CLI_EXIT_IN_DOUBT = 3,  /* the VM was given away and no answer came: both sides hold it
				 * stopped until one learns more or an operator decides */
	CLI_EXIT_CANCELLED = 4, /* cancelled by the user; the guest runs on at the source */
	CLI_EXIT_CHECK = 5,     /* demo: the migration completed and a check of it failed */
	CLI_EXIT_LOST = 6,      /* the control socket broke: how the migration ended is not known */
	CLI_EXIT_LEFT = 130,    /* left by a second interrupt; the migration was asked to cancel.
				 * check: ended by an interrupt */
};

#endif
