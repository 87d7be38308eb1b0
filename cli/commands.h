/* SPDX-License-Identifier: BSD-3-Clause */
/* The subcommands. Each gets its own part of the command line, argv[0] being what its messages
 * begin with, and returns an enum cli_exit. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

int check_main(int argc, char **argv);
int blockers_main(int argc, char **argv);
int compat_main(int argc, char **argv);
int demo_main(int argc, char **argv);
int info_main(int argc, char **argv);
int migrate_main(int argc, char **argv);
int recv_main(int argc, char **argv);
int replay_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int save_main(int argc, char **argv);
int send_main(int argc, char **argv);
int sim_main(int argc, char **argv); /* sim/ */
int vm_main(int argc, char **argv);  /* vmm/ */

#endif
