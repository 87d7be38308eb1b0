/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes wrong is one line on standard error, led in by the command's name. */
#ifndef CLI_COMPLAIN_H
#define CLI_COMPLAIN_H

#include "base/compiler.h"

/* "vfio-migrate @command: ..."; returns @status, an enum cli_exit. Control characters, which a peer
 * or a file may have sent, become '?'. */
int complain_of(const char *command, int status, const char *format, ...) PRINTF(3, 4);

#endif
