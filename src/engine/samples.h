/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * samples: what the policy saw at the end of each round, kept for the report, so that a migration
 * can be replayed through the policy alone (replay.c). The last SAMPLES_MAX rounds are kept.
 * Recordings made before a number was measured can still be replayed: it counts as 0.
 */
#ifndef ENGINE_SAMPLES_H
#define ENGINE_SAMPLES_H

#include <json-c/json_object.h>
#include <pthread.h>
#include "engine/policy.h"

enum { SAMPLES_MAX = 256 };

struct sample;

/* A lock of their own, a leaf: a report of many rounds takes its time, and what moves data needs
 * the session's. */
struct samples {
	pthread_mutex_t lock;
	struct sample *ring[SAMPLES_MAX];
	uint64_t count; /* ever taken */
};

void samples_init(struct samples *samples);

/* A sample that does not fit in memory is not kept: the migration is worth more than its record. */
void samples_add(struct samples *samples, uint64_t round, uint64_t at_ns,
		 const struct policy_input *in, const struct policy_output *out);
void samples_free(struct samples *samples);

/* As a JSON array, the oldest first. */
struct json_object *samples_json(struct samples *samples);

/* One of its elements back. -EINVAL: not one. */
int sample_parse(struct json_object *json, uint64_t *round, struct policy_input *in);

const char *policy_verdict_name(enum policy_verdict verdict);

#endif
