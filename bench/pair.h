/* SPDX-License-Identifier: BSD-3-Clause */
/* Two connected TCP sockets on loopback, set up as a migration's own are. */
#ifndef BENCH_PAIR_H
#define BENCH_PAIR_H

/* fds[0] has connected, fds[1] was accepted. 0 or -errno. */
int pair_tcp(int fds[2]);

#endif
