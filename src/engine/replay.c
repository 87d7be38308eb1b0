/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/replay.h>
#include "base/compiler.h"
#include "engine/samples.h"

enum { DEPTH_MAX = 16 };

/* A report's samples, or the array itself. */
static json_object *find_samples(json_object *root)
{
	json_object *samples = root;

	if (json_object_is_type(root, json_type_object) &&
	    !json_object_object_get_ex(root, "samples", &samples))
		return NULL;
	return json_object_is_type(samples, json_type_array) ? samples : NULL;
}

static json_object *parse(const char *text)
{
	json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	json_object *root = NULL;

	if (tok)
		root = json_tokener_parse_ex(tok, text, (int)strlen(text) + 1);
	if (tok)
		json_tokener_free(tok);
	return root;
}

static int replay_one(json_object *json, const uint64_t *limit_ns, struct vfm_replay_round *r)
{
	struct policy_input *in = malloc(sizeof(*in));
	struct policy_output out;
	int ret = in ? sample_parse(json, &r->round, in) : -ENOMEM;

	if (!ret) {
		if (limit_ns)
			in->limit_ns = *limit_ns;
		policy_decide(in, &out);
		r->go = out.verdict == POLICY_GO;
		r->verdict = policy_verdict_name(out.verdict);
		r->predicted = out.predicted;
		r->term = out.term;
		r->device = out.device;
	}
	free(in);
	return ret;
}

static int64_t replay(json_object *samples, const uint64_t *limit_ns,
		      void (*round)(void *, const struct vfm_replay_round *), void *opaque)
{
	int64_t first = 0;

	for (size_t i = 0; i < json_object_array_length(samples); i++) {
		struct vfm_replay_round r;
		int ret = replay_one(json_object_array_get_idx(samples, i), limit_ns, &r);

		if (ret)
			return ret;
		if (r.go && !first)
			first = (int64_t)r.round;
		if (round)
			round(opaque, &r);
	}
	return first;
}

VFM_API int64_t vfm_replay(const char *json, const uint64_t *limit_ns,
			   void (*round)(void *opaque, const struct vfm_replay_round *round),
			   void *opaque)
{
	json_object *root = parse(json);
	json_object *samples = root ? find_samples(root) : NULL;
	int64_t first = samples ? replay(samples, limit_ns, round, opaque) : -EINVAL;

	json_object_put(root);
	return first;
}
