/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sender: what goes next, and putting it on the channel. link.h says by which rules.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "engine/acks.h"
#include "engine/link.h"
#include "engine/worker.h"

/* The thread's own memory: too large for a stack. */
struct sender {
	struct wire_sequences sequences;
	struct memory_batch batch;
	uint8_t out[WIRE_HEADER_SIZE + WIRE_HEAD_MAX];
	uint8_t head[WIRE_HEAD_MAX] __attribute__((aligned(8)));
	struct iovec iov[1 + WIRE_PAGES_MAX];
};

enum choice { NOTHING, CONTROL, CREDIT, ACK, MEMORY, DEVICE };

struct pick {
	enum choice choice;
	struct link_item *item;
	struct worker *worker;
	struct block *block;
	struct wire_credit credit;
	struct wire_ack ack;
	bool live;
};

int sender_new(struct sender **sender)
{
	*sender = calloc(1, sizeof(**sender));
	return *sender ? 0 : -ENOMEM;
}

void sender_free(struct sender *sender)
{
	free(sender);
}

/* ---- what goes next; with the lock held ---- */

static bool pick_credit(struct link *link, struct pick *pick)
{
	for (unsigned i = 0; i < link->s->device_count; i++) {
		struct worker *w = link->s->workers[i];

		if (!w->credit_due)
			continue;
		w->credit_due = false;
		pick->choice = CREDIT;
		pick->credit = (struct wire_credit){
			.device = w->wire_index,
			.frames = w->consumed_frames,
			.consumed = w->consumed,
			.load_ns = w->load_ns,
		};
		return true;
	}
	return false;
}

static bool pick_ack(struct link *link, struct pick *pick)
{
	if (!acks_next(link->s, &pick->ack))
		return false;
	pick->choice = ACK;
	return true;
}

static bool block_ready(const struct worker *w)
{
	return !queue_empty(&w->filled) && w->moved_frames - w->consumed_frames < w->window;
}

/* Of memory and all devices with something to send, the one that was served least. */
static bool pick_bulk(struct link *link, struct pick *pick)
{
	uint64_t least = UINT64_MAX;

	if (link->s->side != SESSION_SOURCE || link->error)
		return false;
	if (link->pass) {
		pick->choice = MEMORY;
		pick->live = link->live;
		least = link->memory_served;
	}
	for (unsigned i = 0; i < link->s->device_count; i++) {
		struct worker *w = link->s->workers[i];

		if (!block_ready(w) || w->served >= least)
			continue;
		least = w->served;
		pick->choice = DEVICE;
		pick->worker = w;
	}
	if (pick->choice != NOTHING)
		link->served_floor = least;
	return pick->choice != NOTHING;
}

/* The bandwidth limit: sleep for the rest of the pause, or until something else happens. */
static bool must_pause(struct link *link)
{
	uint64_t until = link->next_send_ns;
	struct timespec ts = { (time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC) };

	if (link->s->max_bandwidth == VFM_UNLIMITED || clock_ns() >= until)
		return false;
	pthread_cond_timedwait(&link->s->send_cond, &link->s->lock, &ts);
	return true;
}

static bool pick_now(struct link *link, struct pick *pick)
{
	memset(pick, 0, sizeof(*pick));
	pick->item = QUEUE_ENTRY(queue_peek(&link->control), struct link_item, node);
	if (pick->item && (!pick->item->header.bulk || !must_pause(link))) {
		pick->item = QUEUE_ENTRY(queue_pop(&link->control), struct link_item, node);
		pick->choice = CONTROL;
		return true;
	}
	if (pick->item || pick_credit(link, pick) || pick_ack(link, pick))
		return pick->choice != NOTHING;
	if (!pick_bulk(link, pick) || must_pause(link)) {
		pick->choice = NOTHING;
		return false;
	}
	if (pick->choice == DEVICE)
		pick->block = QUEUE_ENTRY(queue_pop(&pick->worker->filled), struct block, node);
	return true;
}

static bool anything_to_send(struct link *link)
{
	struct pick unused = { 0 };

	if (!queue_empty(&link->control) || pick_bulk(link, &unused))
		return true;
	for (unsigned i = 0; i < link->s->device_count; i++)
		if (link->s->workers[i]->credit_due || link->s->workers[i]->acks_due)
			return true;
	return link->s->legacy_ack_due;
}

/* Wait until there may be something; the steering thread may wait for just this emptiness. The end
 * may have come during the pause of a bandwidth limit, which then took its signal. */
static void wait_for_work(struct link *link)
{
	if (!link_can_send(link) || anything_to_send(link))
		return;
	session_tell(link->s, SESSION_WATCH_REST);
	pthread_cond_wait(&link->s->send_cond, &link->s->lock);
}

/* False: the link ends. */
static bool pick_next(struct link *link, struct pick *pick)
{
	bool go_on;

	pthread_mutex_lock(&link->s->lock);
	link->sending = false;
	while (link_can_send(link) && !pick_now(link, pick))
		wait_for_work(link);
	go_on = link_can_send(link);
	link->sending = go_on;
	pthread_mutex_unlock(&link->s->lock);
	return go_on;
}

/* ---- putting it on the channel ---- */

/* The next number of its stream, and header and head in one piece. */
static int send_frame(struct link *link, struct wire_header *header, const void *head,
		      struct iovec *bulk, int bulk_count)
{
	struct sender *t = link->sender;

	header->sequence = t->sequences.next[header->stream]++;
	wire_put_header(t->out, header, head);
	t->iov[0] = (struct iovec){ t->out, WIRE_HEADER_SIZE + header->head };
	if (bulk_count)
		memcpy(t->iov + 1, bulk, sizeof(*bulk) * (size_t)bulk_count);
	return channel_send(link->channel, t->iov, 1 + bulk_count);
}

/* Charge @bytes to the bandwidth limit; a pause that was not used is not saved up. */
static void charge(struct link *link, uint64_t bytes)
{
	struct session *s = link->s;
	uint64_t now = clock_ns();

	if (s->max_bandwidth == VFM_UNLIMITED)
		return;
	link->next_send_ns = MAX(link->next_send_ns, now > NS_PER_MSEC ? now - NS_PER_MSEC : 0);
	link->next_send_ns += (uint64_t)((double)bytes * 1e9 / (double)s->max_bandwidth);
}

static int send_control(struct link *link, struct pick *pick)
{
	struct link_item *item = pick->item;
	struct iovec bulk = { (void *)item->bulk, item->header.bulk };
	int r = send_frame(link, &item->header, item->head, &bulk, item->header.bulk ? 1 : 0);

	if (item->header.bulk) {
		pthread_mutex_lock(&link->s->lock);
		charge(link, item->header.bulk);
		pthread_mutex_unlock(&link->s->lock);
	}
	free(item);
	return r;
}

static int send_credit(struct link *link, struct pick *pick)
{
	struct wire_header header = { .type = WIRE_CREDIT };

	header.head = (uint32_t)wire_put_credit(link->sender->head, &pick->credit);
	return send_frame(link, &header, link->sender->head, NULL, 0);
}

static int send_ack(struct link *link, struct pick *pick)
{
	struct wire_header header = { .type = WIRE_ACK };

	header.head = (uint32_t)wire_put_ack(link->sender->head, &pick->ack);
	return send_frame(link, &header, link->sender->head, NULL, 0);
}

static void pass_over(struct link *link)
{
	pthread_mutex_lock(&link->s->lock);
	link->pass = false;
	pthread_mutex_unlock(&link->s->lock);
	session_wake(link->s);
}

static int send_memory(struct link *link, struct pick *pick)
{
	struct memory_batch *b = &link->sender->batch;
	struct wire_header header = { .type = WIRE_MEMORY, .stream = WIRE_STREAM_MEMORY };
	int r;

	if (!memory_next(link->s->memory, b, LINK_MEMORY_BYTES)) {
		pass_over(link);
		return 0;
	}
	header.flags = pick->live ? WIRE_FLAG_LIVE : 0;
	header.head = (uint32_t)wire_put_memory(link->sender->head, &b->wire);
	header.bulk = b->wire.page_count * VFM_PAGE_SIZE;
	r = send_frame(link, &header, link->sender->head, b->iov, b->iov_count);
	pthread_mutex_lock(&link->s->lock);
	link->memory_bytes += header.bulk;
	link->memory_served += header.bulk + header.head;
	link->pages += b->pages;
	link->zero_pages += b->zero_pages;
	charge(link, header.bulk);
	pthread_mutex_unlock(&link->s->lock);
	return r;
}

static int send_device(struct link *link, struct pick *pick)
{
	struct worker *w = pick->worker;
	struct block *b = pick->block;
	struct wire_bulk bulk = { b->offset, b->digest };
	struct wire_header header = {
		.type = WIRE_DEVICE,
		.stream = WIRE_STREAM_DEVICE + w->wire_index,
		.flags = (b->last ? WIRE_FLAG_LAST : 0) | (b->initial ? WIRE_FLAG_INITIAL : 0),
		.bulk = b->size,
	};
	struct iovec iov = { b->data, b->size };
	bool last;
	int r;

	header.head = (uint32_t)wire_put_bulk(link->sender->head, &bulk);
	pthread_mutex_lock(&link->s->lock);
	w->moved += b->size;
	w->moved_frames++;
	pthread_mutex_unlock(&link->s->lock);
	r = send_frame(link, &header, link->sender->head, &iov, b->size ? 1 : 0);
	pthread_mutex_lock(&link->s->lock);
	w->served += b->size + header.head;
	w->last_sent = b->last;
	link->device_bytes += b->size;
	queue_push(&w->free, &b->node);
	charge(link, b->size);
	last = b->last;
	pthread_mutex_unlock(&link->s->lock);
	worker_wake(w);
	if (last)
		session_wake(link->s);
	return r;
}

static int send_pick(struct link *link, struct pick *pick)
{
	static int (*const send[])(struct link *, struct pick *) = {
		[CONTROL] = send_control,
		[CREDIT] = send_credit,
		[ACK] = send_ack,
		[MEMORY] = send_memory,
		[DEVICE] = send_device,
	};

	return send[pick->choice](link, pick);
}

/* Ends when the link is stopped or lost, or a send fails. A peer that hangs up has often said why
 * just before: the receiver takes what has arrived, and then ends by itself and tells. */
void sender_run(void *arg)
{
	struct link *link = arg;
	struct pick pick;
	int r = 0;

	while (!r && pick_next(link, &pick))
		r = send_pick(link, &pick);
	if (r)
		channel_drain(link->channel);
	pthread_mutex_lock(&link->s->lock);
	link->deaf &= !r;
	link->sending = false;
	pthread_mutex_unlock(&link->s->lock);
	session_wake(link->s);
}
