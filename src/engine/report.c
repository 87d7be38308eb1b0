/* SPDX-License-Identifier: BSD-3-Clause */
/* The report: what a session did, as JSON for programs. docs/report.md names every member. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/link.h"
#include "engine/session.h"
#include "engine/worker.h"

typedef struct json_object json;

/* Milliseconds with three decimals; VFM_SIZE_UNKNOWN is null. */
static json *ms(uint64_t ns)
{
	char text[32];

	if (ns == VFM_SIZE_UNKNOWN)
		return NULL;
	snprintf(text, sizeof(text), "%.3f", (double)ns / (double)NS_PER_MSEC);
	return json_object_new_double_s((double)ns / (double)NS_PER_MSEC, text);
}

static json *number(uint64_t value)
{
	return value == VFM_SIZE_UNKNOWN ? NULL : json_object_new_uint64(value);
}

/* What only the source sees. */
static json *source_number(const struct session *s, uint64_t value)
{
	return s->side == SESSION_SOURCE ? number(value) : NULL;
}

static json *error_json(const struct vfm_error *e)
{
	json *o;

	if (!e->code)
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "stage", json_object_new_string(vfm_stage_name(e->stage)));
	json_object_object_add(o, "side", json_object_new_string(e->remote ? "peer" : "here"));
	json_object_object_add(o, "device",
			       *e->device ? json_object_new_string(e->device) : NULL);
	json_object_object_add(o, "from", e->has_arc ?
						  json_object_new_string(vfm_state_name(e->from)) :
						  NULL);
	json_object_object_add(o, "to", e->has_arc ?
						json_object_new_string(vfm_state_name(e->to)) :
						NULL);
	json_object_object_add(o, "errno", json_object_new_int(e->code));
	json_object_object_add(o, "cause", json_object_new_string(strerror(e->code)));
	json_object_object_add(o, "text", json_object_new_string(e->text));
	return o;
}

static json *reasons_json(const struct session *s)
{
	json *a = json_object_new_array();

	for (unsigned i = 0; i < s->reason_count; i++)
		json_object_array_add(a, json_object_new_string(s->reasons[i]));
	return a;
}

static json *terms_json(const struct vfm_downtime *d)
{
	bool known = d->total_ns && d->total_ns != VFM_SIZE_UNKNOWN;
	json *o = json_object_new_object();

	json_object_object_add(o, "stop_ms", known ? ms(d->stop_ns) : NULL);
	json_object_object_add(o, "state_ms", known ? ms(d->state_ns) : NULL);
	json_object_object_add(o, "memory_ms", known ? ms(d->memory_ns) : NULL);
	json_object_object_add(o, "load_ms", known ? ms(d->load_ns) : NULL);
	json_object_object_add(o, "handover_ms", known ? ms(d->handover_ns) : NULL);
	return o;
}

static json *memory_json(const struct session *s)
{
	json *o = json_object_new_object();

	json_object_object_add(o, "total_bytes",
			       number(memory_total_pages(s->memory) * VFM_PAGE_SIZE));
	json_object_object_add(o, "sent_bytes", source_number(s, s->progress.memory_sent));
	json_object_object_add(o, "zero_pages", source_number(s, s->zero_pages));
	json_object_object_add(o, "pages", source_number(s, s->pages));
	return o;
}

static void add_arc(json *arcs, const char *side, enum vfm_state from, enum vfm_state to,
		    uint64_t start_ns, uint64_t duration_ns, int result)
{
	json *o = json_object_new_object();

	json_object_object_add(o, "side", json_object_new_string(side));
	json_object_object_add(o, "from", json_object_new_string(vfm_state_name(from)));
	json_object_object_add(o, "to", json_object_new_string(vfm_state_name(to)));
	json_object_object_add(o, "ms", ms(duration_ns));
	json_object_object_add(o, "at_ms", ms(start_ns));
	json_object_object_add(o, "errno", json_object_new_int(-result));
	json_object_array_add(arcs, o);
}

static const char *side_name(const struct session *s)
{
	return s->side == SESSION_SOURCE ? "source" : "destination";
}

static json *arcs_json(const struct session *s, const struct worker *w)
{
	const char *here = side_name(s);
	json *arcs = json_object_new_array();

	for (unsigned i = 0; i < s->timeline.count; i++) {
		const struct timeline_arc *t = &s->timeline.arcs[i];

		if (t->device == w->index)
			add_arc(arcs, here, t->arc.from, t->arc.to, t->arc.start_ns - s->start_ns,
				t->arc.end_ns - t->arc.start_ns, t->arc.result);
	}
	for (unsigned i = 0; s->peer_report && i < s->peer_report->arc_count; i++) {
		const struct wire_arc *a = &s->peer_report->arcs[i];

		if (a->device == w->wire_index)
			add_arc(arcs, "destination", a->from, a->to, a->start_ns, a->duration_ns,
				a->result);
	}
	return arcs;
}

static uint64_t load_ns(const struct session *s, const struct worker *w)
{
	if (s->peer_report && w->wire_index < s->peer_report->device_count)
		return s->peer_report->devices[w->wire_index].load_ns;
	return w->load_ns;
}

static json *device_json(const struct session *s, const struct worker *w)
{
	json *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(w->device->info.name));
	json_object_object_add(o, "backend", json_object_new_string(w->device->info.backend));
	json_object_object_add(o, "tracker",
			       json_object_new_string(vfm_tracker_name(w->device->info.tracker)));
	json_object_object_add(o, "precopy_bytes", source_number(s, w->precopy_bytes));
	json_object_object_add(o, "stopcopy_bytes", source_number(s, w->stopcopy_bytes));
	json_object_object_add(o, "loaded_bytes", number(w->consumed));
	json_object_object_add(o, "load_ms", ms(load_ns(s, w)));
	json_object_object_add(o, "acks", source_number(s, w->acked));
	json_object_object_add(o, "reinits", source_number(s, w->reinits));
	json_object_object_add(o, "reinits_without_ack",
			       source_number(s, s->features & WIRE_FEATURE_ACK_PER_DEVICE ?
							0 :
							w->reinits));
	json_object_object_add(o, "arcs", arcs_json(s, w));
	return o;
}

static json *acks_json(const struct session *s)
{
	const char *mode = s->features & WIRE_FEATURE_ACK_PER_DEVICE ? "per-device" :
			   session_has_acks(s)			     ? "legacy" :
								       "off";
	json *o = json_object_new_object();

	json_object_object_add(o, "mode", json_object_new_string(mode));
	json_object_object_add(o, "profile",
			       json_object_new_string(vfm_profile_name(s->options.profile)));
	return o;
}

/* Those that were taken back; the one that went through is in the downtime. */
static json *attempts_json(const struct session *s)
{
	json *a = json_object_new_array();

	for (unsigned i = 0; i < s->attempt_count; i++) {
		const struct attempt *t = &s->attempts[i];
		const char *name = s->workers[t->device]->device->info.name;
		json *o = json_object_new_object();

		json_object_object_add(o, "at_ms", ms(t->stopped_ns - s->start_ns));
		json_object_object_add(o, "cost_ms", ms(t->cost_ns));
		json_object_object_add(o, "device", json_object_new_string(name));
		json_object_array_add(a, o);
	}
	return a;
}

static const char *owner_name(enum vfm_owner owner)
{
	static const char *const names[] = {
		[VFM_OWNER_SOURCE] = "source",
		[VFM_OWNER_DESTINATION] = "destination",
		[VFM_OWNER_UNKNOWN] = "unknown",
	};

	return names[owner];
}

/* With the lock held. @samples is taken over. */
static json *build(const struct session *s, json *samples)
{
	bool measured = s->measured.total_ns;
	json *o = json_object_new_object(), *devices = json_object_new_array();

	json_object_object_add(o, "status", json_object_new_string(vfm_status_name(s->status)));
	json_object_object_add(o, "stage", json_object_new_string(vfm_stage_name(s->stage)));
	json_object_object_add(o, "side", json_object_new_string(side_name(s)));
	json_object_object_add(o, "owner", json_object_new_string(owner_name(s->owner)));
	json_object_object_add(o, "error", error_json(&s->error));
	json_object_object_add(o, "reasons", reasons_json(s));
	json_object_object_add(o, "total_ms", ms(s->progress.elapsed_ns));
	json_object_object_add(o, "downtime_ms", measured ? ms(s->measured.total_ns) : NULL);
	json_object_object_add(o, "predicted_downtime_ms", ms(s->predicted.total_ns));
	json_object_object_add(o, "downtime_terms", terms_json(&s->measured));
	json_object_object_add(o, "predicted_terms", terms_json(&s->predicted));
	json_object_object_add(o, "inspect_ms", ms(s->inspect_ns));
	json_object_object_add(o, "rounds", number(s->progress.round));
	json_object_object_add(o, "bandwidth",
			       s->progress.bandwidth ? number(s->progress.bandwidth) : NULL);
	json_object_object_add(o, "dirty_rate", source_number(s, s->progress.dirty_rate));
	json_object_object_add(o, "acks", acks_json(s));
	json_object_object_add(o, "switchover_attempts", attempts_json(s));
	json_object_object_add(o, "samples", samples);
	json_object_object_add(o, "memory", memory_json(s));
	for (unsigned i = 0; i < s->device_count; i++)
		json_object_array_add(devices, device_json(s, s->workers[i]));
	json_object_object_add(o, "devices", devices);
	return o;
}

char *session_report_json(struct session *s)
{
	json *o, *samples = samples_json(&s->samples);
	char *text;

	pthread_mutex_lock(&s->lock);
	o = build(s, samples);
	pthread_mutex_unlock(&s->lock);
	text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
	json_object_put(o);
	return text;
}
