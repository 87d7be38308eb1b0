/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices at once, as a VM's devices are taken through a migration: each by a thread of its own.
 *
 *	DEVICE  ──┐ PRE_COPY ──┐ STOP_COPY ──┐ STOP ──┐ RUNNING ──┐     a barrier before each step, so
 *	PEER    ──┘ PRE_COPY ──┘ STOP_COPY ──┘ STOP ──┘ RUNNING ──┘     that both begin it together
 *
 * The walks that come after have no barriers and differ: the seed chooses where each goes. A thread
 * that fails goes on through the barriers, and so never leaves the other one waiting.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "check/check.h"

#define ROUNDS 8u
#define STEPS  100u /* of a walk */

static const enum vfm_state round_trip[] = {
	VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P, VFM_STATE_STOP_COPY, VFM_STATE_STOP,
	VFM_STATE_RUNNING_P2P, VFM_STATE_RUNNING, VFM_STATE_STOP, VFM_STATE_RESUMING,
};

struct walker {
	struct check *check;
	struct port *port;
	pthread_barrier_t *barrier; /* NULL: alone */
	uint64_t random;
	enum vfm_state from, to;    /* of what failed */
	int ret;
};

static void step(struct walker *w, enum vfm_state from, enum vfm_state to)
{
	if (w->ret)
		return;
	w->from = from;
	w->to = to;
	/* RESUMING is left by a reset: nothing was loaded. */
	w->ret = from == VFM_STATE_RESUMING ? port_reset(w->port)
					    : port_set_state(w->port, (uint32_t)to);
}

static void go_round(struct walker *w)
{
	enum vfm_state at = VFM_STATE_RUNNING;

	for (size_t i = 0; i <= ARRAY_SIZE(round_trip); i++) {
		enum vfm_state to = i < ARRAY_SIZE(round_trip) ? round_trip[i] : VFM_STATE_RUNNING;

		if (!check_has_state(w->check, to))
			continue;
		if (w->barrier)
			pthread_barrier_wait(w->barrier);
		step(w, at, to);
		at = to;
	}
}

static void walk(struct walker *w)
{
	static const enum vfm_state places[] = {VFM_STATE_STOP, VFM_STATE_RUNNING,
						VFM_STATE_STOP_COPY};
	enum vfm_state at = VFM_STATE_RUNNING;

	for (unsigned i = 0; i < STEPS; i++) {
		enum vfm_state to = places[check_random(&w->random) % ARRAY_SIZE(places)];

		if (to == at)
			continue;
		step(w, at, to);
		at = to;
	}
}

static void run_walker(void *arg)
{
	struct walker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		go_round(w);
	walk(w);
}

static enum check_verdict judge(struct check *check, const struct walker *w, const char *who)
{
	return w->ret ? check_fail(check, "%s: %s -> %s while the other one changed its state, too: %s",
				   who, vfm_state_name(w->from), vfm_state_name(w->to),
				   strerror(-w->ret))
		      : CHECK_PASS;
}

/* What fails alone is another rule's. What a round takes is told beside what it takes together:
 * nothing is judged by that. */
static int try_alone(struct walker walker, uint64_t *ns)
{
	uint64_t start = clock_ns();

	go_round(&walker);
	*ns = clock_ns() - start;
	walk(&walker);
	return walker.ret ? walker.ret : check_fresh(walker.port);
}

static int walk_both(struct walker *a, struct walker *b, uint64_t *ns)
{
	pthread_barrier_t barrier;
	struct thread thread;
	uint64_t start;
	int ret = pthread_barrier_init(&barrier, NULL, 2);

	if (ret)
		return -ret;
	a->barrier = b->barrier = &barrier;
	start = clock_ns();
	ret = thread_start(&thread, NULL, "peer", run_walker, b);
	if (!ret) {
		run_walker(a);
		thread_join(&thread);
	}
	*ns = clock_ns() - start;
	pthread_barrier_destroy(&barrier);
	return ret;
}

enum check_verdict check_parallel(struct check *check)
{
	struct walker a = {.check = check, .port = check->port, .random = check->seed};
	struct walker b = {.check = check, .port = check->peer, .random = ~check->seed};
	enum check_verdict verdict;
	uint64_t alone, both;
	int ret = try_alone(b, &alone);

	if (!ret)
		ret = try_alone(a, &alone);
	if (ret)
		return check_unjudged(check, "a device alone cannot do that: %s", strerror(-ret));
	ret = walk_both(&a, &b, &both);
	if (ret)
		return check_unjudged(check, "no second thread: %s", strerror(-ret));
	verdict = judge(check, &a, "DEVICE");
	if (!verdict)
		verdict = judge(check, &b, "PEER");
	return verdict ? verdict
		       : check_pass(check,
				    "%u rounds together and %u steps each took %.1f ms, a round "
				    "alone %.1f ms",
				    ROUNDS, STEPS, (double)both / NS_PER_MSEC,
				    (double)alone / NS_PER_MSEC);
}

/* ---- streams that are read, and written, by turns ---- */

static const size_t pieces[] = {1024, 4097, 6001, 2048}; /* smaller ones are another rule's */

/* Also where there is nothing now, which some devices say in STOP_COPY: so often. */
#define NO_END_READS 64u

static int read_piece(struct port *port, struct stream *stream, size_t step, unsigned *empty)
{
	int got = stream_read_once(port, stream, step);
	bool none = got == -ENOMSG || got == -EAGAIN;

	return none && ++*empty < NO_END_READS ? 1 : got;
}

/* Both to the end. */
static int read_by_turns(struct port *ports[2], struct stream streams[2])
{
	unsigned empty[2] = {0, 0};
	int got[2] = {1, 1};

	for (size_t i = 0; got[0] > 0 || got[1] > 0; i++)
		for (unsigned p = 0; p < 2; p++) {
			if (got[p] <= 0)
				continue;
			got[p] = read_piece(ports[p], &streams[p],
					    pieces[(i + p) % ARRAY_SIZE(pieces)], &empty[p]);
			if (got[p] < 0)
				return got[p];
		}
	return 0;
}

static int write_by_turns(struct port *ports[2], const struct stream streams[2])
{
	size_t at[2] = {0, 0}, part;
	int ret = 0;

	for (size_t i = 0; !ret && (at[0] < streams[0].len || at[1] < streams[1].len); i++)
		for (unsigned p = 0; p < 2 && !ret; p++) {
			part = MIN(pieces[(i + p) % ARRAY_SIZE(pieces)], streams[p].len - at[p]);
			ret = part ? port_write(ports[p], streams[p].data + at[p], part) : 0;
			at[p] += part;
		}
	return ret;
}

static int both_to(struct port *ports[2], enum vfm_state state)
{
	int ret = port_set_state(ports[0], state);

	return ret ? ret : port_set_state(ports[1], state);
}

static int move_streams(struct port *ports[2], struct stream streams[2])
{
	int ret = both_to(ports, VFM_STATE_STOP);

	if (!ret)
		ret = both_to(ports, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = read_by_turns(ports, streams);
	if (!ret)
		ret = both_to(ports, VFM_STATE_STOP);
	if (!ret)
		ret = both_to(ports, VFM_STATE_RESUMING);
	if (!ret)
		ret = write_by_turns(ports, streams);
	if (!ret)
		ret = both_to(ports, VFM_STATE_STOP);
	return ret ? ret : both_to(ports, VFM_STATE_RUNNING);
}

/* What fails alone is another rule's. */
static int move_alone(struct port *port)
{
	struct stream stream = {0};
	int ret = check_save(port, &stream);

	if (!ret)
		ret = check_load_stream(port, &stream, 0, NULL);
	stream_free(&stream);
	return ret ? ret : check_fresh(port);
}

enum check_verdict check_interleaved(struct check *check)
{
	struct port *ports[2] = {check->port, check->peer};
	struct stream streams[2] = {{0}};
	int ret = move_alone(check->port);

	if (!ret)
		ret = move_alone(check->peer);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "a device alone cannot do that: %s", strerror(-ret));
	ret = move_streams(ports, streams);
	stream_free(&streams[0]);
	stream_free(&streams[1]);
	return ret ? check_fail(check, "refused: %s", strerror(-ret)) : CHECK_PASS;
}
