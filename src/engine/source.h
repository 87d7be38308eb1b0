/* SPDX-License-Identifier: BSD-3-Clause */
/* source: the giving end. The public functions are in source.c, the stages in source-*.c. */
#ifndef ENGINE_SOURCE_H
#define ENGINE_SOURCE_H

#include "channel/channel.h"
#include "engine/bandwidth.h"
#include "engine/recent.h"
#include "engine/session.h"

/* What the source measures as it goes; the steering thread's. */
struct source_meter {
	uint64_t round_start_ns;
	uint64_t round_start_bytes;
	struct bandwidth bandwidth;
	uint64_t round_trip_ns;   /* the shortest seen */
	uint64_t step_ns, peer_step_ns; /* see policy.h */
	struct recent query_ns, sync_ns;
	uint64_t dirty_rate;
	uint64_t dirty_bytes;     /* at the last round's end */
	uint64_t synced_ns;
	uint64_t copy_start_ns;   /* stop-copy began */
	uint64_t known_ns;        /* all dirty logs were read */
	uint64_t copied_ns;       /* all of it is in the socket */
	uint64_t final_memory_bytes, final_state_bytes;
	struct wire_prepared prepared; /* what the destination says of its last steps */
};

struct vfm_source {
	struct session session; /* the first member */
	struct source_meter meter;
	struct channel *channel; /* until the steering thread takes it */
};

static inline struct vfm_source *source_of(struct session *s)
{
	return (struct vfm_source *)s;
}

/* vfm_source_start with a channel instead of an fd. Takes @channel. */
int source_start_channel(struct vfm_source *source, struct channel *channel);

/* OR all dirty logs into memory: the VMM's and the devices', in parallel. */
int source_sync_dirty(struct session *s);

/* What the policy sees now. */
void source_policy_input(struct session *s, struct policy_input *in);

/* Measured terms of the downtime, when RUNNING came. */
void source_measure_downtime(struct session *s, uint64_t running_ns);

/* Bytes of memory and device data that went out so far. */
uint64_t source_sent_bytes(struct session *s);

#endif
