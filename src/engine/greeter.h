/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * greeter: connections of which nothing is known yet.
 *
 * A destination listens where anybody can connect. Each connection waits here for its hello, among
 * at most VFM_STRANGERS_MAX, GREETER_PATIENCE_NS long, without a thread of its own: the steering
 * thread polls them in all of its waits. What is no hello is closed, with a reason in the log.
 * When the house is full, the oldest stranger has to go: a scanner cannot keep the peer out.
 *
 * Which hellos are welcome changes: a new session's until there is one, then only the question of
 * that session's source. Others hear that we are busy.
 */
#ifndef ENGINE_GREETER_H
#define ENGINE_GREETER_H

#include "engine/session.h"

#define GREETER_PATIENCE_NS (UINT64_C(10) * 1000000000)

int greeter_new(struct greeter **greeter);
void greeter_free(struct greeter *greeter); /* NULL is fine */

/* Any thread. Takes @fd. */
int greeter_attach(struct session *s, int fd);

/* Which intent (enum wire_intent) is welcome now; WIRE_INTENT_ASK with the session's token. 0: none. */
void greeter_want(struct session *s, uint16_t intent);

/* Sleep until the session is woken or @deadline_ns, looking after strangers meanwhile. The one
 * place where the steering thread sleeps; a session without a greeter just sleeps. */
void greeter_poll(struct session *s, uint64_t deadline_ns);

/* True: a welcome hello is there, for greeter_take. */
session_condition greeter_has_hello;

/* Its connection, and what it said. The caller owns the fd. */
int greeter_take(struct session *s, struct wire_hello *hello);

#endif
