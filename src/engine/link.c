/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "engine/link.h"
#include "engine/worker.h"

static int start_threads(struct link *link)
{
	const struct vfm_thread_hooks *hooks = link->s->options.threads;
	int r = thread_start(&link->sender_thread, hooks, "vfm-send0", sender_run, link);

	if (!r)
		r = thread_start(&link->receiver_thread, hooks, "vfm-recv0", receiver_run, link);
	return r;
}

int link_start(struct session *s, struct channel *channel, uint64_t control_frames)
{
	struct link *link = calloc(1, sizeof(*link));
	int r;

	if (!link) {
		channel_close(channel);
		return -ENOMEM;
	}
	link->s = s;
	link->channel = channel;
	pthread_mutex_lock(&s->lock);
	s->link = link;
	pthread_mutex_unlock(&s->lock);
	r = sender_new(&link->sender);
	if (!r)
		r = receiver_new(&link->receiver, control_frames);
	if (!r)
		r = start_threads(link);
	if (r)
		link_stop(s);
	return r;
}

void link_stop(struct session *s)
{
	struct link *link = s->link;

	if (!link)
		return;
	pthread_mutex_lock(&s->lock);
	link->quit = true;
	pthread_mutex_unlock(&s->lock);
	pthread_cond_signal(&s->send_cond);
	channel_shutdown(link->channel);
	thread_join(&link->sender_thread);
	thread_join(&link->receiver_thread);
	pthread_mutex_lock(&s->lock);
	s->link = NULL;
	pthread_mutex_unlock(&s->lock);
	for (struct queue_node *n; (n = queue_pop(&link->control));)
		free(QUEUE_ENTRY(n, struct link_item, node));
	sender_free(link->sender);
	receiver_free(link->receiver);
	channel_close(link->channel);
	free(link);
}

void link_lost(struct link *link, int error)
{
	pthread_mutex_lock(&link->s->lock);
	if (!link->error)
		link->error = error;
	pthread_mutex_unlock(&link->s->lock);
	pthread_cond_signal(&link->s->send_cond);
	session_wake(link->s);
}

bool link_can_send(const struct link *link)
{
	return !link->quit && (!link->error || link->deaf);
}

/* True: in line. Takes @item. */
static bool put_in_line(struct link *link, struct link_item *item)
{
	bool room;

	pthread_mutex_lock(&link->s->lock);
	room = link->control.count < LINK_CONTROL_MAX && link_can_send(link);
	if (room)
		queue_push(&link->control, &item->node);
	pthread_mutex_unlock(&link->s->lock);
	if (room)
		pthread_cond_signal(&link->s->send_cond);
	else
		free(item);
	return room;
}

void link_control(struct link *link, uint16_t type, const void *head, size_t size)
{
	struct link_item *item = calloc(1, sizeof(*item) + size);

	if (!item) {
		session_failf(link->s, ENOMEM, "no memory for a control frame");
		return;
	}
	item->header = (struct wire_header){ .type = type, .head = (uint32_t)size };
	if (size)
		memcpy(item->head, head, size);
	if (!put_in_line(link, item))
		link_lost(link, -EPROTO);
}

void link_start_pass(struct link *link, bool live)
{
	memory_rewind(link->s->memory);
	pthread_mutex_lock(&link->s->lock);
	link->pass = true;
	link->live = live;
	link->memory_served = MAX(link->memory_served, link->served_floor);
	pthread_mutex_unlock(&link->s->lock);
	pthread_cond_signal(&link->s->send_cond);
}

bool link_pass_done(struct session *s, void *arg UNUSED)
{
	return !s->link->pass;
}

int link_send_vm_state(struct link *link, const void *data, size_t size)
{
	struct wire_bulk bulk = { 0 };
	uint8_t head[sizeof(uint64_t) * 4];

	do {
		size_t n = MIN(size - bulk.offset, (size_t)LINK_VM_CHUNK);
		const uint8_t *from = (const uint8_t *)data + bulk.offset;
		struct link_item *item;

		bulk.digest = wire_digest(from, n);
		size_t head_size = wire_put_bulk(head, &bulk);
		item = calloc(1, sizeof(*item) + head_size);
		if (!item)
			return -ENOMEM;
		item->header = (struct wire_header){
			.type = WIRE_VM_STATE,
			.stream = WIRE_STREAM_VM,
			.flags = bulk.offset + n == size ? WIRE_FLAG_LAST : 0,
			.head = (uint32_t)head_size,
			.bulk = (uint32_t)n,
		};
		memcpy(item->head, head, head_size);
		item->bulk = from;
		if (!put_in_line(link, item))
			return -ENOTCONN;
		bulk.offset += n;
	} while (bulk.offset < size);
	return 0;
}

bool link_rests(struct link *link)
{
	if (queue_empty(&link->control) && !link->sending)
		return true;
	link->s->watch |= SESSION_WATCH_REST;
	return false;
}

bool link_flushed(struct session *s, void *arg UNUSED)
{
	return !s->link || !link_can_send(s->link) || link_rests(s->link);
}

bool link_devices_sent(struct session *s, void *arg UNUSED)
{
	for (unsigned i = 0; i < s->device_count; i++)
		if (!s->workers[i]->last_sent)
			return false;
	return true;
}

void link_abort(struct session *s)
{
	struct vfm_error error;
	uint8_t *head = malloc(WIRE_HEAD_MAX);

	pthread_mutex_lock(&s->lock);
	error = s->error;
	pthread_mutex_unlock(&s->lock);
	if (!error.code) {
		error.code = ECANCELED;
		error.stage = s->stage;
		strcpy(error.text, "cancelled");
	}
	/* The peer knows what it told us itself, and waits for us to hang up. */
	if (error.remote)
		link_stop(s);
	else if (head && s->link)
		link_control(s->link, WIRE_ABORT, head, wire_put_error(head, &error));
	free(head);
}

/* The peer has hung up, or there is no link. */
static bool link_over(struct session *s, void *arg UNUSED)
{
	return !s->link || s->link->error;
}

/* To close at once might cost the peer the last words: unread data here makes the kernel reset the
 * connection, and what is under way is lost. So the peer closes first, if it does so soon. */
void link_flush_abort(struct session *s)
{
	uint64_t deadline = clock_ns() + SESSION_FLUSH_MS * NS_PER_MSEC;

	session_wait(s, link_flushed, NULL, deadline, SESSION_WAIT_UNDO | SESSION_WAIT_NO_LINK);
	session_wait(s, link_over, NULL, deadline, SESSION_WAIT_UNDO | SESSION_WAIT_NO_LINK);
}

/* Bytes and frames that went out so far, of any kind; with the lock held. */
static uint64_t link_moved(const struct link *link)
{
	return link->memory_bytes + link->device_bytes + link->pages + link->control.count;
}

struct moving {
	session_condition *condition;
	uint64_t moved;
	bool held;
};

/* Holds as well when something has moved since the last look. */
static bool holds_or_moved(struct session *s, void *arg)
{
	struct moving *m = arg;
	uint64_t now = link_moved(s->link);

	m->held = m->condition(s, NULL);
	if (m->held || now == m->moved)
		return m->held;
	m->moved = now;
	return true;
}

/* From when on silence is the peer's: not while the sender itself waits for its bandwidth limit. */
static uint64_t silence_start(struct session *s)
{
	uint64_t start = clock_ns();

	pthread_mutex_lock(&s->lock);
	if (s->max_bandwidth != VFM_UNLIMITED)
		start = MAX(start, s->link->next_send_ns);
	pthread_mutex_unlock(&s->lock);
	return start;
}

int link_wait_moving(struct session *s, session_condition *condition)
{
	struct moving m = { .condition = condition };
	int r;

	do {
		uint64_t now = silence_start(s), patience = s->options.peer_timeout_ns;

		r = session_wait(s, holds_or_moved, &m,
				 patience > UINT64_MAX - now ? UINT64_MAX : now + patience, 0);
	} while (!r && !m.held);
	if (r == -ENOTCONN)
		return session_link_failed(s);
	if (r == -ETIMEDOUT)
		return session_failf(s, ETIMEDOUT, "the peer takes no more data");
	return r;
}
