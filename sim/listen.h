/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening unix socket that only its owner can reach. */
#ifndef SIM_LISTEN_H
#define SIM_LISTEN_H

/*
 * Listen at @path. A socket file that nobody listens at any more is replaced. Returns the fd or
 * -errno, with one line in @why (SIM_WHY_MAX bytes): -EADDRINUSE, -ENAMETOOLONG, ...
 */
int listen_unix(const char *path, char *why);

#endif
