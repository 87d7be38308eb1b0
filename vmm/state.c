/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "base/compiler.h"
#include "vmm/state.h"

static const char state_magic[8] = "VFMVMST";

struct header {
	char magic[8];
	uint32_t version;
	uint32_t sections;
	uint64_t size;
} PACKED;

struct section_header {
	uint32_t type;
	uint32_t index;
	uint32_t size;
	uint32_t zero;
} PACKED;

_Static_assert(sizeof(struct header) == 24, "layout");
_Static_assert(sizeof(struct section_header) == 16, "layout");

static uint8_t *grow(struct state_writer *w, size_t size)
{
	size_t need = w->size + size, capacity = w->capacity ? w->capacity : 16384;
	uint8_t *data;

	if (w->error || need > STATE_SIZE_MAX) {
		w->error = w->error ? w->error : -EFBIG;
		return NULL;
	}
	while (capacity < need)
		capacity *= 2;
	if (capacity != w->capacity) {
		data = realloc(w->data, capacity);
		if (!data) {
			w->error = -ENOMEM;
			return NULL;
		}
		w->data = data;
		w->capacity = capacity;
	}
	data = w->data + w->size;
	memset(data, 0, size);
	w->size = need;
	return data;
}

void state_begin(struct state_writer *w)
{
	memset(w, 0, sizeof(*w));
	grow(w, sizeof(struct header));
}

void state_add(struct state_writer *w, enum state_type type, unsigned index, const void *payload,
	       size_t size)
{
	struct section_header h = {type, index, (uint32_t)size, 0};
	uint8_t *to;

	if (size > STATE_SIZE_MAX) {
		w->error = w->error ? w->error : -EFBIG;
		return;
	}
	to = grow(w, sizeof(h) + align_down(size + 7, 8));
	if (!to)
		return;
	memcpy(to, &h, sizeof(h));
	if (size)
		memcpy(to + sizeof(h), payload, size);
	w->sections++;
}

int state_end(struct state_writer *w)
{
	struct header h = {.version = STATE_VERSION, .sections = w->sections, .size = w->size};

	if (w->error)
		return w->error;
	memcpy(h.magic, state_magic, sizeof(h.magic));
	memcpy(w->data, &h, sizeof(h));
	return 0;
}

void state_writer_free(struct state_writer *w)
{
	free(w->data);
	memset(w, 0, sizeof(*w));
}

static int parse_header(const uint8_t *data, size_t size, uint32_t *sections)
{
	struct header h;

	if (size < sizeof(h) || size > STATE_SIZE_MAX)
		return -EINVAL;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.magic, state_magic, sizeof(h.magic)) != 0 || h.size != size)
		return -EINVAL;
	if (h.version != STATE_VERSION)
		return -EPROTONOSUPPORT;
	if (h.sections > STATE_SECTIONS_MAX)
		return -EINVAL;
	*sections = h.sections;
	return 0;
}

/* One section at @data, of @left bytes. Returns what it takes, or -EINVAL. */
static ssize_t parse_section(const uint8_t *data, size_t left, struct state_section *s)
{
	struct section_header h;
	size_t padded;

	if (left < sizeof(h))
		return -EINVAL;
	memcpy(&h, data, sizeof(h));
	if (!h.type || h.type >= STATE_TYPE_COUNT || h.index >= STATE_INDEX_MAX || h.zero)
		return -EINVAL;
	if (h.size > left - sizeof(h))
		return -EINVAL;
	padded = align_down((size_t)h.size + 7, 8);
	if (padded > left - sizeof(h))
		return -EINVAL;
	s->type = h.type;
	s->index = h.index;
	s->size = h.size;
	s->payload = data + sizeof(h);
	return (ssize_t)(sizeof(h) + padded);
}

int state_parse(const void *data, size_t size, struct state_view *view)
{
	size_t at = sizeof(struct header);
	struct state_section s;
	uint32_t sections;
	ssize_t used;
	int ret;

	view->count = 0;
	ret = parse_header(data, size, &sections);
	if (ret < 0)
		return ret;
	while (view->count < sections) {
		used = parse_section((const uint8_t *)data + at, size - at, &s);
		if (used < 0 || state_find(view, s.type, s.index))
			return -EINVAL;
		view->section[view->count++] = s;
		at += (size_t)used;
	}
	return at == size ? 0 : -EINVAL;
}

const struct state_section *state_find(const struct state_view *view, enum state_type type,
				       unsigned index)
{
	unsigned i;

	for (i = 0; i < view->count; i++)
		if (view->section[i].type == type && view->section[i].index == index)
			return &view->section[i];
	return NULL;
}

int state_get(const struct state_view *view, enum state_type type, unsigned index, void *out,
	      size_t size)
{
	const struct state_section *s = state_find(view, type, index);

	if (!s)
		return -ENOENT;
	if (s->size != size)
		return -EINVAL;
	memcpy(out, s->payload, size);
	return 0;
}
