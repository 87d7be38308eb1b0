/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The error sink: a struct vfm_error that keeps the first failure.
 *
 * The functions write code, device, arc and text. The stage and the remote mark belong to the
 * session: it keeps stage at its present value for as long as code is 0, and from the first
 * failure on nobody changes the record.
 *
 * @code is an errno, EINVAL or -EINVAL alike, so that a failed call's return value can be handed
 * on. A 0, which is our own mistake, counts as EIO. Each function returns the negative errno,
 * recorded or not: `return error_set(err, EINVAL, "...")`.
 *
 * Every function takes a NULL error. Threads: the caller serialises; a worker has a record of its
 * own, which the session takes over with error_merge().
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>
#include <vfio-migrate/error.h>
#include "base/compiler.h"

int error_set(struct vfm_error *error, int code, const char *fmt, ...) PRINTF(3, 4);

/* The same, and @device is to blame. NULL: none. */
int error_set_device(struct vfm_error *error, int code, const char *device, const char *fmt, ...)
	PRINTF(4, 5);

/* The same, in its transition @from -> @to. */
int error_set_arc(struct vfm_error *error, int code, const char *device, enum vfm_state from,
		  enum vfm_state to, const char *fmt, ...) PRINTF(6, 7);

/* Copy @from, with its stage and marks, unless @from is empty or @error has a failure already. */
void error_merge(struct vfm_error *error, const struct vfm_error *from);

/*
 * Write the record as one line, without a newline:
 *     stop-copy: device nic0: RESUMING -> STOP: Invalid argument: 4 bytes missing
 * Parts that are not set are left out, and "peer: " follows the stage where the other side found
 * it. Control characters, which a peer may have sent, become '?'. Cut at @size, and ends with a
 * NUL unless @size is 0. An empty record gives an empty line.
 */
void error_format(const struct vfm_error *error, char *buf, size_t size);

#endif
