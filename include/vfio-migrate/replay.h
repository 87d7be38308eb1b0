/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Replay: the switchover policy alone, over the samples that a migration's report holds. For people
 * who tune limits, and for the policy's own tests.
 */
#ifndef VFIO_MIGRATE_REPLAY_H
#define VFIO_MIGRATE_REPLAY_H

#include <vfio-migrate/migrate.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfm_replay_round {
	uint64_t round;
	int go;                        /**< 1: the policy would switch over here */
	const char *verdict;           /**< "go", "wait-limit", "wait-acks", "wait-bandwidth" */
	struct vfm_downtime predicted;
	const char *term;              /**< the largest term: "memory", "state", ... */
	int device;                    /**< behind that term, by number; -1: none */
};

/**
 * Run the policy over @json, a report of vfm_source_report_json or an array of its samples.
 * @limit_ns: instead of the recorded limit; NULL: the recorded one. @round is called for each, on
 * this thread. Returns the number of the first round that would have gone, 0: none would, or
 * -EINVAL: no such text.
 */
int64_t vfm_replay(const char *json, const uint64_t *limit_ns,
		   void (*round)(void *opaque, const struct vfm_replay_round *round), void *opaque);

#ifdef __cplusplus
}
#endif
#endif
