/* SPDX-License-Identifier: BSD-3-Clause */
/* Walking along an array of iovecs, which is altered on the way. */
#ifndef CHANNEL_IOV_H
#define CHANNEL_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* What is left of an array. */
struct iov_rest {
	struct iovec *iov;
	int count;
};

/* Step over empty elements, so that rest->count is 0 if and only if nothing is left. */
static inline void iov_skip_empty(struct iov_rest *rest)
{
	while (rest->count && !rest->iov->iov_len) {
		rest->iov++;
		rest->count--;
	}
}

/* Step over @size bytes, at most all of them. */
static inline void iov_advance(struct iov_rest *rest, size_t size)
{
	while (rest->count && size >= rest->iov->iov_len) {
		size -= rest->iov->iov_len;
		rest->iov++;
		rest->count--;
	}
	if (rest->count && size) {
		rest->iov->iov_base = (char *)rest->iov->iov_base + size;
		rest->iov->iov_len -= size;
	}
	iov_skip_empty(rest);
}

static inline uint64_t iov_bytes(const struct iovec *iov, int count)
{
	uint64_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

#endif
