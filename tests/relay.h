/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A wire between two VMs that a test holds in its hand: it passes one connection on, and keeps back
 * what the destination says from a frame of a chosen type on. So the source can be made to stand
 * just before the point of no return.
 *
 *	source ── tcp ──> relay->address ── tcp ──> target
 *	       <──────── not from `hold` on <──────
 *
 * When one end hangs up, so does the relay at the other. It runs on a thread of its own.
 */
#ifndef TESTS_RELAY_H
#define TESTS_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct relay {
	char address[128];     /* where the source connects */
	char target[128];
	uint16_t hold;         /* enum wire_type */
	int listener;
	pthread_t thread;
	pthread_mutex_t lock;  /* covers the rest */
	pthread_cond_t change;
	bool held;             /* a frame of that type has come */
	bool ended;
};

/* 0 or -errno. */
int relay_start(struct relay *relay, const char *target, uint16_t hold);

/* Wait until it is held: 0, or -ETIMEDOUT. */
int relay_await_hold(struct relay *relay, int timeout_ms);

/* Once both ends have hung up, or nobody came. */
void relay_stop(struct relay *relay);

#endif
