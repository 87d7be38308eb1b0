/* SPDX-License-Identifier: BSD-3-Clause */
/* The user of a device that is going to be killed: it does something, says when it is at it, and
 * never ends by itself. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"

#define PIECE  10u /* a state lasts long, and the way to the next is short beside it */
#define ROUNDS 8u /* of states, before it says that it is at it */

struct holder {
	struct port *port;
	FILE *out;
	bool said;
};

static void say(struct holder *holder)
{
	if (!holder->said)
		fprintf(holder->out, CHECK_HOLDS "\n");
	holder->said = true;
	fflush(holder->out);
}

static int stay(struct holder *holder, enum vfm_state state)
{
	int ret = check_go(holder->port, state);

	if (ret)
		return ret;
	say(holder);
	for (;;)
		pause();
}

/* ---- in the middle of something: 0 is one round, after which the next begins ---- */

static int read_on(struct holder *holder)
{
	uint8_t buf[PIECE];
	ssize_t got = 1;
	int ret = check_go(holder->port, VFM_STATE_STOP_COPY);

	while (!ret && got > 0) {
		got = port_read(holder->port, buf, sizeof(buf));
		ret = got < 0 ? (int)got : 0;
		if (got > 0)
			say(holder);
	}
	return ret;
}

/* Half of a state at once, and then byte by byte all but the last. Of one that is too large to be held,
 * its first part. */
static int write_on(struct holder *holder)
{
	struct stream stream = {0};
	int ret = check_fresh(holder->port);
	size_t at;

	if (!ret)
		ret = check_save(holder->port, &stream);
	if (ret == -EFBIG)
		ret = 0;
	at = stream.len / 2;
	if (!ret)
		ret = port_set_state(holder->port, VFM_STATE_RESUMING);
	if (!ret && at)
		ret = port_write(holder->port, stream.data, at);
	if (!ret)
		say(holder);
	for (; !ret && at + 1 < stream.len; at++)
		ret = port_write(holder->port, stream.data + at, 1);
	stream_free(&stream);
	return ret ? ret : port_reset(holder->port);
}

static int move_on(struct holder *holder)
{
	int ret = check_fresh(holder->port);

	for (unsigned i = 0; i < ROUNDS && !ret; i++) {
		ret = port_set_state(holder->port, VFM_STATE_STOP);
		if (!ret)
			ret = port_set_state(holder->port, VFM_STATE_RUNNING);
	}
	if (!ret)
		say(holder);
	return ret;
}

static const struct {
	const char *what;
	int (*round)(struct holder *holder);
} busy[] = {
	{"reading", read_on},
	{"writing", write_on},
	{"moving", move_on},
};

int check_hold(struct port *port, const char *what, FILE *out)
{
	struct holder holder = {.port = port, .out = out};
	int ret = 0;

	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT; state++)
		if (!strcmp(what, vfm_state_name((enum vfm_state)state)))
			return stay(&holder, (enum vfm_state)state);
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
		while (!strcmp(what, busy[i].what) && !ret)
			ret = busy[i].round(&holder);
	return ret ? ret : -EINVAL;
}

bool check_can_hold(const char *what)
{
	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT; state++)
		if (!strcmp(what, vfm_state_name((enum vfm_state)state)))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
		if (!strcmp(what, busy[i].what))
			return true;
	return false;
}
