/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include "base/compiler.h"
#include "engine/samples.h"

/* Only as many devices as there are: 64 of them take a page. */
struct sample {
	uint64_t round, at_ns, predicted_ns;
	enum policy_verdict verdict;
	struct policy_input in;
};

#define INPUT_SIZE(count)                                                                          \
	(offsetof(struct policy_input, devices) + (count) * sizeof(struct policy_device))

const char *policy_verdict_name(enum policy_verdict verdict)
{
	static const char *const names[] = {
		[POLICY_GO] = "go",
		[POLICY_WAIT_ACKS] = "wait-acks",
		[POLICY_WAIT_BANDWIDTH] = "wait-bandwidth",
		[POLICY_WAIT_LIMIT] = "wait-limit",
	};

	return names[verdict];
}

void samples_init(struct samples *samples)
{
	memset(samples, 0, sizeof(*samples));
	pthread_mutex_init(&samples->lock, NULL);
}

/* Returns the one whose place it takes, NULL: none. */
static struct sample *put(struct samples *samples, struct sample *s)
{
	struct sample **slot, *old;

	pthread_mutex_lock(&samples->lock);
	slot = &samples->ring[samples->count++ % SAMPLES_MAX];
	old = *slot;
	*slot = s;
	pthread_mutex_unlock(&samples->lock);
	return old;
}

void samples_add(struct samples *samples, uint64_t round, uint64_t at_ns,
		 const struct policy_input *in, const struct policy_output *out)
{
	size_t size = INPUT_SIZE(in->device_count);
	struct sample *s = malloc(offsetof(struct sample, in) + size);

	if (!s)
		return;
	s->round = round;
	s->at_ns = at_ns;
	s->predicted_ns = out->predicted.total_ns;
	s->verdict = out->verdict;
	memcpy(&s->in, in, size);
	free(put(samples, s));
}

void samples_free(struct samples *samples)
{
	for (unsigned i = 0; i < SAMPLES_MAX; i++)
		free(samples->ring[i]);
	pthread_mutex_destroy(&samples->lock);
}

/* ---- JSON: a row per member, for both directions ---- */

struct field {
	const char *name;
	size_t offset;
	bool newer; /* older recordings have none: it counts as 0 */
};

#define IN(member)           { #member, offsetof(struct policy_input, member), false }
#define IN_NEWER(member)     { #member, offsetof(struct policy_input, member), true }
#define DEVICE(member)       { #member, offsetof(struct policy_device, member), false }
#define DEVICE_NEWER(member) { #member, offsetof(struct policy_device, member), true }

static const struct field input_fields[] = {
	IN(limit_ns),       IN(bandwidth),     IN(memory_bytes),    IN(vm_state_bytes),
	IN(unknown_bytes),  IN(round_trip_ns), IN(vcpus_stop_ns),
	IN_NEWER(query_ns), IN_NEWER(sync_ns), IN_NEWER(step_ns),    IN_NEWER(peer_step_ns),
};
static const struct field device_fields[] = {
	DEVICE_NEWER(stop_p2p_ns), DEVICE(stop_ns),  DEVICE(state_bytes),
	DEVICE_NEWER(growth_rate), DEVICE_NEWER(growth_max),
	DEVICE(load_ns_mib),       DEVICE(check_ns), DEVICE_NEWER(run_p2p_ns), DEVICE(run_ns),
};

/* All are uint64_t; the one value that JSON numbers cannot show, unlimited or unknown, is null. */
static void put_fields(json_object *o, const void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value;

		memcpy(&value, (const char *)base + fields[i].offset, sizeof(value));
		json_object_object_add(o, fields[i].name,
				       value == UINT64_MAX ? NULL :
							     json_object_new_uint64(value));
	}
}

static int get_fields(json_object *o, void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value = UINT64_MAX;
		json_object *member;

		if (!json_object_object_get_ex(o, fields[i].name, &member)) {
			if (!fields[i].newer)
				return -EINVAL;
			continue;
		}
		if (member && !json_object_is_type(member, json_type_int))
			return -EINVAL;
		if (member && json_object_get_int64(member) < 0)
			return -EINVAL;
		if (member)
			value = json_object_get_uint64(member);
		memcpy((char *)base + fields[i].offset, &value, sizeof(value));
	}
	return 0;
}

static json_object *sample_json(const struct sample *s)
{
	json_object *o = json_object_new_object(), *devices = json_object_new_array();

	json_object_object_add(o, "round", json_object_new_uint64(s->round));
	json_object_object_add(o, "at_ns", json_object_new_uint64(s->at_ns));
	put_fields(o, &s->in, input_fields, ARRAY_SIZE(input_fields));
	json_object_object_add(o, "pending_acks", json_object_new_int((int)s->in.pending_acks));
	json_object_object_add(o, "serial", json_object_new_boolean(s->in.serial));
	for (unsigned i = 0; i < s->in.device_count; i++) {
		json_object *d = json_object_new_object();

		put_fields(d, &s->in.devices[i], device_fields, ARRAY_SIZE(device_fields));
		json_object_array_add(devices, d);
	}
	json_object_object_add(o, "devices", devices);
	json_object_object_add(o, "verdict",
			       json_object_new_string(policy_verdict_name(s->verdict)));
	json_object_object_add(o, "predicted_ns",
			       s->predicted_ns == UINT64_MAX ?
				       NULL :
				       json_object_new_uint64(s->predicted_ns));
	return o;
}

json_object *samples_json(struct samples *samples)
{
	json_object *a = json_object_new_array();
	uint64_t first;

	pthread_mutex_lock(&samples->lock);
	first = samples->count > SAMPLES_MAX ? samples->count - SAMPLES_MAX : 0;
	for (uint64_t i = first; i < samples->count; i++)
		json_object_array_add(a, sample_json(samples->ring[i % SAMPLES_MAX]));
	pthread_mutex_unlock(&samples->lock);
	return a;
}

static int parse_devices(json_object *array, struct policy_input *in)
{
	size_t count;

	if (!json_object_is_type(array, json_type_array))
		return -EINVAL;
	count = json_object_array_length(array);
	if (count > VFM_DEVICES_MAX)
		return -EINVAL;
	in->device_count = (unsigned)count;
	for (size_t i = 0; i < count; i++) {
		json_object *d = json_object_array_get_idx(array, i);
		int r = json_object_is_type(d, json_type_object) ?
				get_fields(d, &in->devices[i], device_fields,
					   ARRAY_SIZE(device_fields)) :
				-EINVAL;

		if (r)
			return r;
	}
	return 0;
}

int sample_parse(json_object *json, uint64_t *round, struct policy_input *in)
{
	json_object *member, *acks, *devices, *serial;
	int r;

	memset(in, 0, sizeof(*in));
	if (!json_object_is_type(json, json_type_object) ||
	    !json_object_object_get_ex(json, "round", &member) ||
	    !json_object_object_get_ex(json, "pending_acks", &acks) ||
	    !json_object_object_get_ex(json, "devices", &devices))
		return -EINVAL;
	*round = json_object_get_uint64(member);
	in->pending_acks = (unsigned)json_object_get_int(acks);
	in->serial = json_object_object_get_ex(json, "serial", &serial) &&
		     json_object_get_boolean(serial);
	r = get_fields(json, in, input_fields, ARRAY_SIZE(input_fields));
	return r ? r : parse_devices(devices, in);
}
