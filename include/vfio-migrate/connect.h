/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Opening and connecting, for VMMs that may do it themselves. The sessions take file descriptors;
 * these helpers make them from addresses:
 *
 *	tcp:HOST:PORT       tcp:127.0.0.1:4444, tcp:[::1]:4444, tcp:0.0.0.0:4444
 *	unix:PATH
 *	fd:N                a connected (connect) or listening (listen) socket that was inherited
 */
#ifndef VFIO_MIGRATE_CONNECT_H
#define VFIO_MIGRATE_CONNECT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Is it one of these forms? Nothing is opened. 0 or -EINVAL, the reason as one line in @why (@size
 *  bytes, may be NULL). */
int vfm_address_check(const char *address, char *why, size_t size);

/**
 * A connected stream socket, CLOEXEC, TCP_NODELAY where it is TCP, keep-alive on. @timeout_ms: for
 * the whole call, -1 for ever. Returns the fd or -errno; EINVAL: no such address form; the reason
 * as one line in @why (@size bytes, may be NULL).
 */
int vfm_connect(const char *address, int timeout_ms, char *why, size_t size);

/**
 * A listening socket. A unix socket is made for its owner only; a stale one of the same name,
 * on which nobody listens, is replaced. Returns the fd or -errno, @why as above.
 */
int vfm_listen(const char *address, char *why, size_t size);

/** The next connection of a listening socket, set up like vfm_connect's. The fd or -errno;
 *  EAGAIN: none now (the listening socket is non-blocking). */
int vfm_accept(int listener);

/** Where a listening socket listens, as an address that vfm_connect takes ("tcp:127.0.0.1:43121"),
 *  so that port 0 can be used. 0 or -errno. */
int vfm_listen_address(int listener, char *address, size_t size);

#ifdef __cplusplus
}
#endif
#endif
