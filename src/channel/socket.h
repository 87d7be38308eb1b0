/* SPDX-License-Identifier: BSD-3-Clause */
/* What every stream socket of ours gets, whoever made it. */
#ifndef CHANNEL_SOCKET_H
#define CHANNEL_SOCKET_H

/* 0; -ENOTSOCK, -EBADF, -EPROTOTYPE: not a stream socket. */
int socket_check_stream(int fd);

/* Small frames leave at once. Nothing happens where the socket is not TCP. */
void socket_set_nodelay(int fd);

/* Find out about a peer that is gone without a word. Nothing happens where it is not TCP. */
void socket_set_keepalive(int fd);

/* 0 or -errno. */
int socket_set_blocking(int fd, int blocking);

#endif
