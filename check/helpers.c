/* SPDX-License-Identifier: BSD-3-Clause */
/* What rules have in common: saying what happened, getting about, moving whole states. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "check/check.h"
#include "fsm/fsm.h"

#define CHUNK        (256u << 10)
#define EARLY_MAX    (64u << 20) /* bytes of a pre-copy that a rule reads */
#define EARLY_READS  4096u
#define NO_END_READS 64u         /* that say "nothing now" in STOP_COPY, before it is given up */

#define SAY(check, format)                                                                         \
	do {                                                                                       \
		va_list say_args;                                                                  \
		va_start(say_args, format);                                                        \
		vsnprintf((check)->why, sizeof((check)->why), format, say_args);                   \
		va_end(say_args);                                                                  \
	} while (0)

enum check_verdict check_fail(struct check *check, const char *format, ...)
{
	SAY(check, format);
	return CHECK_FAIL;
}

enum check_verdict check_unjudged(struct check *check, const char *format, ...)
{
	SAY(check, format);
	return CHECK_UNJUDGED;
}

enum check_verdict check_na(struct check *check, const char *format, ...)
{
	SAY(check, format);
	return CHECK_NOT_APPLICABLE;
}

enum check_verdict check_pass(struct check *check, const char *format, ...)
{
	SAY(check, format);
	return CHECK_PASS;
}

enum check_verdict check_no_way(struct check *check, enum vfm_state to, int ret)
{
	return check_unjudged(check, "%s was not reached: %s", vfm_state_name(to), strerror(-ret));
}

const char *check_state_text(uint32_t state, char text[24])
{
	if (state < VFM_STATE_COUNT)
		snprintf(text, 24, "%s", vfm_state_name((enum vfm_state)state));
	else
		snprintf(text, 24, "state %u", state);
	return text;
}

/* ---- getting about ---- */

bool check_has_state(const struct check *check, enum vfm_state state)
{
	return fsm_state_supported(state, check->caps);
}

static bool is_running(struct port *port)
{
	uint32_t state;

	return !port_get_state(port, &state) && state == VFM_STATE_RUNNING;
}

/* RESUMING and ERROR are left by a reset. A server that refuses one when stopped takes a SET. */
bool check_bring_back(struct port *port)
{
	uint32_t state;

	if (port_get_state(port, &state))
		return false;
	if (state != VFM_STATE_ERROR && state != VFM_STATE_RESUMING &&
	    !port_set_state(port, VFM_STATE_RUNNING))
		return is_running(port);
	return !port_reset(port) && is_running(port);
}

int check_fresh(struct port *port)
{
	if (is_running(port) || check_bring_back(port))
		return 0;
	if (!port_reset(port) && is_running(port))
		return 0;
	if (port_reopen(port))
		return -ENOTCONN;
	return is_running(port) || check_bring_back(port) ? 0 : -EIO;
}

int check_go(struct port *port, enum vfm_state state)
{
	int ret = check_fresh(port);

	return ret || state == VFM_STATE_RUNNING ? ret : port_set_state(port, state);
}

/* ---- whole states ---- */

void stream_free(struct stream *stream)
{
	free(stream->data);
	*stream = (struct stream){0};
}

/* Room for @bytes more. */
static int make_room(struct stream *stream, size_t bytes, size_t max)
{
	size_t room = stream->room ? stream->room : CHUNK;
	uint8_t *data;

	if (stream->len + bytes > max)
		return -EFBIG;
	while (room < stream->len + bytes)
		room *= 2;
	if (room == stream->room)
		return 0;
	data = realloc(stream->data, room);
	if (!data)
		return -ENOMEM;
	stream->data = data;
	stream->room = room;
	return 0;
}

/* One read: how many bytes, or -errno. */
static ssize_t read_more(struct port *port, struct stream *stream, size_t step)
{
	int ret = make_room(stream, step, port->hold_max);
	ssize_t got;

	if (ret)
		return ret;
	got = port_read(port, stream->data + stream->len, step);
	if (got > (ssize_t)step)
		return -EPROTO;
	if (got > 0)
		stream->len += (size_t)got;
	return got;
}

int stream_read_once(struct port *port, struct stream *stream, size_t step)
{
	return (int)read_more(port, stream, step);
}

int stream_read_end(struct port *port, struct stream *stream, size_t step)
{
	unsigned empty = 0;
	ssize_t got;

	do {
		got = read_more(port, stream, step ? step : CHUNK);
		empty += got == -ENOMSG || got == -EAGAIN;
	} while (got > 0 || ((got == -ENOMSG || got == -EAGAIN) && empty < NO_END_READS));
	return (int)got;
}

/* Like stream_read_end(), into @buf of CHUNK bytes. */
static int sum_up(struct port *port, uint8_t *buf, XXH3_state_t *hash, uint64_t *len)
{
	unsigned empty = 0;
	ssize_t got;

	do {
		got = port_read(port, buf, CHUNK);
		if (got > (ssize_t)CHUNK)
			return -EPROTO;
		if (got > 0)
			XXH3_64bits_update(hash, buf, (size_t)got);
		*len += got > 0 ? (uint64_t)got : 0;
		empty += got == -ENOMSG || got == -EAGAIN;
	} while (got > 0 || ((got == -ENOMSG || got == -EAGAIN) && empty < NO_END_READS));
	return (int)got;
}

int stream_sum_end(struct port *port, struct stream_sum *sum)
{
	XXH3_state_t *hash = XXH3_createState();
	uint8_t *buf = malloc(CHUNK);
	int ret = hash && buf ? 0 : -ENOMEM;

	*sum = (struct stream_sum){0};
	if (!ret) {
		XXH3_64bits_reset(hash);
		ret = sum_up(port, buf, hash, &sum->len);
		sum->hash = XXH3_64bits_digest(hash);
	}
	XXH3_freeState(hash);
	free(buf);
	return ret;
}

int stream_drop_early(struct port *port)
{
	uint8_t *buf = malloc(CHUNK);
	ssize_t got = buf ? 1 : -ENOMEM;
	size_t all = 0;

	for (unsigned i = 0; i < EARLY_READS && got > 0 && all < EARLY_MAX; i++) {
		got = port_read(port, buf, CHUNK);
		all += got > 0 ? (size_t)got : 0;
	}
	free(buf);
	return got > 0 || got == -ENOMSG || got == -EAGAIN ? 0 : (int)got;
}

int stream_read_early(struct port *port, struct stream *stream)
{
	size_t end = stream->len + EARLY_MAX;
	ssize_t got = 1;

	for (unsigned i = 0; i < EARLY_READS && got > 0 && stream->len < end; i++)
		got = read_more(port, stream, CHUNK);
	return got > 0 || got == -ENOMSG || got == -EAGAIN ? 0 : (int)got;
}

bool stream_equal(const struct stream *a, const struct stream *b)
{
	return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

/* That asking for the same state works is a rule of its own. */
static int stop(struct port *port)
{
	uint32_t state;
	int ret = port_get_state(port, &state);

	return ret || state == VFM_STATE_STOP ? ret : port_set_state(port, VFM_STATE_STOP);
}

int check_save(struct port *port, struct stream *stream)
{
	int ret = stop(port);

	stream->len = 0;
	if (!ret)
		ret = port_set_state(port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_read_end(port, stream, 0);
	return ret ? ret : port_set_state(port, VFM_STATE_STOP);
}

int check_save_sum(struct port *port, struct stream_sum *sum)
{
	int ret = stop(port);

	if (!ret)
		ret = port_set_state(port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_sum_end(port, sum);
	return ret ? ret : port_set_state(port, VFM_STATE_STOP);
}

static int write_all(struct port *port, const struct stream *stream, size_t step)
{
	size_t part;
	int ret = 0;

	for (size_t done = 0; done < stream->len && !ret; done += part) {
		part = MIN(step ? step : CHUNK, stream->len - done);
		ret = port_write(port, stream->data + done, part);
	}
	return ret;
}

int check_load_stream(struct port *port, const struct stream *stream, size_t step, bool *refused)
{
	int ret = port_set_state(port, VFM_STATE_RESUMING);

	if (refused)
		*refused = false;
	if (ret)
		return ret;
	ret = write_all(port, stream, step);
	if (!ret)
		ret = latency_take(port, VFM_STATE_RESUMING, VFM_STATE_STOP);
	if (refused)
		*refused = ret && ret != -ENOTCONN && ret != -ETIMEDOUT;
	return ret;
}

uint64_t check_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
