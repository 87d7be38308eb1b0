/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate vm`: main.c reads the command line, app.c does the rest. */
#ifndef VMM_MAIN_H
#define VMM_MAIN_H

#include "vmm/app.h"

/* Run until told to quit. Returns the exit status; says why on stderr if it is not 0. */
int app_run(const struct app_options *options);

int vm_main(int argc, char **argv);

#endif
