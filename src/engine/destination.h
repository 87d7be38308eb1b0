/* SPDX-License-Identifier: BSD-3-Clause */
/* destination: the taking end. The public functions are in destination.c, the stages in
 * destination-*.c. */
#ifndef ENGINE_DESTINATION_H
#define ENGINE_DESTINATION_H

#include "engine/session.h"

struct vfm_destination {
	struct session session; /* the first member */
	struct wire_prepare prepare; /* what the source says to have sent */
	uint64_t prepare_ns;         /* when it said so */
	uint64_t commit_ns;          /* when COMMIT came */
	struct wire_running running; /* kept for a source that asks */
};

static inline struct vfm_destination *destination_of(struct session *s)
{
	return (struct vfm_destination *)s;
}

/* Replace the link by the connection behind a welcome hello, and answer with s->fate. */
int destination_answer_hello(struct session *s);

/* Compare the source's description with what is here; every difference is a reason. */
void destination_compare(struct session *s, const struct wire_describe *d,
			 struct wire_answer *answer);

/* After the end: answer a source that asks, until it says BYE, patience ends, or the VMM frees the
 * session. */
void destination_linger(struct session *s);

#endif
