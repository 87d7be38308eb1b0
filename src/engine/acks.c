/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include "base/compiler.h"
#include "engine/acks.h"

static bool per_device(const struct session *s)
{
	return s->features & WIRE_FEATURE_ACK_PER_DEVICE;
}

/* ---- source ---- */

static uint64_t initial_bytes(const struct device_precopy *info)
{
	return info->initial_bytes == VFM_SIZE_UNKNOWN ? 0 : info->initial_bytes;
}

void acks_ask(struct worker *w, const struct device_precopy *info)
{
	if (!session_has_acks(w->s))
		return;
	w->asked++;
	w->initial_left = initial_bytes(info);
}

void acks_note(struct worker *w, const struct device_precopy *info)
{
	bool again = info->reinit && initial_bytes(info);

	if (again && w->asked == w->flagged) {
		w->reinits++;
		w->asked += per_device(w->s);
	}
	if (w->asked > w->flagged)
		w->initial_left = initial_bytes(info);
}

bool acks_read(struct worker *w, uint64_t bytes)
{
	if (w->asked == w->flagged)
		return false;
	w->initial_left -= MIN(w->initial_left, bytes);
	if (w->initial_left)
		return false;
	w->flagged++;
	return true;
}

bool acks_flag_due(const struct worker *w)
{
	return w->asked > w->flagged && !w->initial_left;
}

unsigned acks_pending(const struct session *s)
{
	unsigned pending = 0;

	for (unsigned i = 0; i < s->device_count; i++)
		pending += s->workers[i]->asked - s->workers[i]->acked;
	return pending;
}

static int take_one(struct session *s, uint32_t device)
{
	struct worker *w = device < s->device_count ? s->workers[device] : NULL;

	if (!w || w->acked == w->flagged)
		return -EPROTO;
	w->acked++;
	return 0;
}

static int take_all(struct session *s)
{
	if (s->legacy_acked)
		return -EPROTO;
	for (unsigned i = 0; i < s->device_count; i++)
		if (s->workers[i]->flagged != s->workers[i]->asked)
			return -EPROTO;
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->acked = s->workers[i]->asked;
	s->legacy_acked = true;
	return 0;
}

int acks_take(struct session *s, const struct wire_ack *ack)
{
	if (per_device(s))
		return take_one(s, ack->device);
	if (session_has_acks(s) && ack->device == WIRE_ACK_ALL)
		return take_all(s);
	return -EPROTO;
}

/* ---- destination ---- */

void acks_loaded(struct worker *w)
{
	struct session *s = w->s;
	bool all = true;

	if (per_device(s)) {
		w->acks_due++;
		return;
	}
	w->initial_loaded = true;
	for (unsigned i = 0; i < s->device_count; i++)
		all &= s->workers[i]->initial_loaded || !s->workers[i]->peer_precopy;
	s->legacy_ack_due = all && session_has_acks(s);
}

bool acks_next(struct session *s, struct wire_ack *ack)
{
	if (s->legacy_ack_due) {
		s->legacy_ack_due = false;
		ack->device = WIRE_ACK_ALL;
		return true;
	}
	for (unsigned i = 0; i < s->device_count; i++) {
		struct worker *w = s->workers[i];

		if (!w->acks_due)
			continue;
		w->acks_due--;
		ack->device = w->wire_index;
		return true;
	}
	return false;
}
