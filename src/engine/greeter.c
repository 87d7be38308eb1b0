/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/greeter.h"

enum { HELLO_MAX = WIRE_HEADER_SIZE + 128 }; /* bytes of a hello frame, at most */

struct stranger {
	int fd;
	uint64_t until_ns;
	size_t got;
	uint8_t bytes[HELLO_MAX];
};

struct greeter {
	/* Under session.lock: handed over by attach, not yet looked at. */
	int arrived[VFM_STRANGERS_MAX];
	unsigned arrived_count;
	unsigned dropped; /* closed for want of room, and not told yet */
	/* The steering thread's. */
	struct stranger strangers[VFM_STRANGERS_MAX]; /* the oldest first */
	unsigned count;
	uint16_t wanted;
	int hello_fd; /* of a welcome hello, -1: none */
	struct wire_hello hello;
};

int greeter_new(struct greeter **greeter)
{
	*greeter = calloc(1, sizeof(**greeter));
	if (!*greeter)
		return -ENOMEM;
	(*greeter)->hello_fd = -1;
	return 0;
}

void greeter_free(struct greeter *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < g->arrived_count; i++)
		close(g->arrived[i]);
	for (unsigned i = 0; i < g->count; i++)
		close(g->strangers[i].fd);
	if (g->hello_fd >= 0)
		close(g->hello_fd);
	free(g);
}

int greeter_attach(struct session *s, int fd)
{
	struct greeter *g = s->greeter;
	int oldest = -1;

	pthread_mutex_lock(&s->lock);
	if (g->arrived_count == VFM_STRANGERS_MAX) {
		oldest = g->arrived[0];
		memmove(g->arrived, g->arrived + 1, sizeof(int) * --g->arrived_count);
		g->dropped++;
	}
	g->arrived[g->arrived_count++] = fd;
	pthread_mutex_unlock(&s->lock);
	if (oldest >= 0)
		close(oldest);
	session_wake(s);
	return 0;
}

void greeter_want(struct session *s, uint16_t intent)
{
	s->greeter->wanted = intent;
}

bool greeter_has_hello(struct session *s, void *arg UNUSED)
{
	return s->greeter->hello_fd >= 0;
}

int greeter_take(struct session *s, struct wire_hello *hello)
{
	int fd = s->greeter->hello_fd;

	s->greeter->hello_fd = -1;
	*hello = s->greeter->hello;
	return fd;
}

/* Forget stranger @i; its fd is somebody else's now, or closed. */
static void forget(struct greeter *g, unsigned i)
{
	memmove(&g->strangers[i], &g->strangers[i + 1],
		sizeof(g->strangers[0]) * (--g->count - i));
}

static void turn_away(struct session *s, unsigned i, const char *why)
{
	session_log(s, VFM_LOG_WARN, "a connection was closed: %s", why);
	close(s->greeter->strangers[i].fd);
	forget(s->greeter, i);
}

/* Strangers that attach handed over come in; the oldest leave if there is no room. */
static void let_in(struct session *s)
{
	struct greeter *g = s->greeter;
	int fds[VFM_STRANGERS_MAX];
	unsigned count, dropped;

	pthread_mutex_lock(&s->lock);
	dropped = g->dropped;
	g->dropped = 0;
	count = g->arrived_count;
	memcpy(fds, g->arrived, sizeof(int) * count);
	g->arrived_count = 0;
	pthread_mutex_unlock(&s->lock);
	while (dropped--)
		session_log(s, VFM_LOG_WARN, "a connection was closed: too many at once");
	for (unsigned i = 0; i < count; i++) {
		if (g->count == VFM_STRANGERS_MAX)
			turn_away(s, 0, "too many that say nothing");
		g->strangers[g->count++] = (struct stranger){
			.fd = fds[i],
			.until_ns = clock_ns() + GREETER_PATIENCE_NS,
		};
	}
}

static int read_bytes(void *opaque, void *buf, size_t size)
{
	struct stranger *from = opaque;

	if (size > sizeof(from->bytes) - from->got)
		return -EMSGSIZE;
	memcpy(buf, from->bytes + from->got, size);
	from->got += size;
	return 0;
}

/* The bytes that a stranger has sent, as a hello. */
static int read_hello(const struct stranger *from, struct wire_hello *hello)
{
	struct stranger copy = *from;
	struct wire_input input = { read_bytes, &copy };
	struct wire_sequences *sequences = calloc(1, sizeof(*sequences));
	struct wire_frame *frame = malloc(sizeof(*frame));
	int r = sequences && frame ? 0 : -ENOMEM;

	copy.got = 0;
	if (!r)
		r = wire_read_frame(&input, sequences, frame);
	if (!r)
		r = frame->header.type == WIRE_HELLO ?
			    wire_get_hello(frame->head, frame->header.head, hello) :
			    -EPROTO;
	free(frame);
	free(sequences);
	return r;
}

/* A polite no; whoever does not read it has had his chance. */
static void say_busy(int fd)
{
	struct vfm_error error = { .code = EBUSY, .stage = VFM_STAGE_HELLO };
	struct wire_header header = { .type = WIRE_ABORT };
	uint8_t *head = malloc(WIRE_HEAD_MAX), *out = malloc(WIRE_HEADER_SIZE + WIRE_HEAD_MAX);

	strcpy(error.text, "the destination is busy with another migration, or waits for none");
	if (head && out) {
		header.head = (uint32_t)wire_put_error(head, &error);
		wire_put_header(out, &header, head);
		if (send(fd, out, WIRE_HEADER_SIZE + header.head, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			errno = 0; /* not interested */
	}
	free(head);
	free(out);
}

static bool welcome(struct session *s, const struct wire_hello *hello)
{
	struct greeter *g = s->greeter;

	if (g->hello_fd >= 0 || hello->intent != g->wanted)
		return false;
	return hello->intent != WIRE_INTENT_ASK ||
	       !memcmp(hello->token, s->token, sizeof(s->token));
}

/* All of a frame's bytes are here, or too many. */
static void judge(struct session *s, unsigned i)
{
	struct greeter *g = s->greeter;
	struct wire_hello hello;
	int r = read_hello(&g->strangers[i], &hello);

	if (r) {
		turn_away(s, i, r == -EBADMSG ? "it does not speak this protocol" :
						"it did not begin with a hello");
	} else if (!welcome(s, &hello)) {
		say_busy(g->strangers[i].fd);
		turn_away(s, i, "its hello is not what is waited for");
	} else {
		g->hello_fd = g->strangers[i].fd;
		g->hello = hello;
		forget(g, i);
	}
}

/* The size of the frame that the stranger is sending, once its header is here; 0: not yet. */
static size_t frame_size(const struct stranger *from)
{
	struct wire_header header;

	if (from->got < WIRE_HEADER_SIZE)
		return 0;
	if (wire_get_header(from->bytes, &header) || header.type != WIRE_HELLO || header.bulk ||
	    WIRE_HEADER_SIZE + header.head > HELLO_MAX)
		return from->got; /* enough to judge */
	return WIRE_HEADER_SIZE + header.head;
}

/* Read what is there, but never past the hello: what follows is the session's. */
static void listen_to(struct session *s, unsigned i)
{
	struct stranger *from = &s->greeter->strangers[i];

	for (;;) {
		size_t size = frame_size(from);
		size_t want = (size ? size : WIRE_HEADER_SIZE) - from->got;
		ssize_t n;

		if (!want)
			break;
		n = recv(from->fd, from->bytes + from->got, want, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			turn_away(s, i, "it ended before its hello");
			return;
		}
		from->got += (size_t)n;
	}
	judge(s, i);
}

static void drain(struct session *s)
{
	uint64_t count;

	if (read(s->wake_fd, &count, sizeof(count)) < 0)
		return; /* was not woken by it */
}

static int poll_timeout(struct session *s, uint64_t deadline_ns)
{
	uint64_t now = clock_ns(), until = deadline_ns;

	for (unsigned i = 0; s->greeter && i < s->greeter->count; i++)
		until = MIN(until, s->greeter->strangers[i].until_ns);
	if (until <= now)
		return 0;
	return (int)MIN((until - now) / NS_PER_MSEC + 1, (uint64_t)60 * 1000);
}

void greeter_poll(struct session *s, uint64_t deadline_ns)
{
	struct pollfd fds[1 + VFM_STRANGERS_MAX] = { { s->wake_fd, POLLIN, 0 } };
	struct greeter *g = s->greeter;
	unsigned count = g ? g->count : 0;

	for (unsigned i = 0; i < count; i++)
		fds[1 + i] = (struct pollfd){ g->strangers[i].fd, POLLIN, 0 };
	poll(fds, 1 + count, poll_timeout(s, deadline_ns));
	drain(s);
	for (unsigned i = count; i-- > 0;) {
		if (fds[1 + i].revents)
			listen_to(s, i);
		else if (clock_ns() >= g->strangers[i].until_ns)
			turn_away(s, i, "it said nothing for too long");
	}
	if (g)
		let_in(s);
}
