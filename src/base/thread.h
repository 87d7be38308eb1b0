/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads with every signal blocked: a signal that interrupts a read of device data can lose some
 * of it, so that no thread of ours may ever take one.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <vfio-migrate/thread.h>
#include "base/compiler.h"

#define THREAD_NAME_MAX 16 /* the kernel's limit, with the NUL */

/* Belongs to its starter and stays in its place until the join. Zero bytes: no thread. */
struct thread {
	bool started;                  /* there is a thread to join */
	bool hooked;                   /* made by hooks, else by us */
	struct vfm_thread_hooks hooks;
	void *handle;                  /* of the hooks */
	pthread_t id;                  /* of ours */
	char name[THREAD_NAME_MAX];
	void (*run)(void *arg);
	void *arg;
};

/*
 * Start a thread that calls @run(@arg). @hooks may be NULL. @name is cut at 15 bytes. -EINVAL: the
 * hooks are too small or incomplete; otherwise what the creation says (-EAGAIN), and then nothing
 * is to be joined.
 */
MUST_CHECK int thread_start(struct thread *thread, const struct vfm_thread_hooks *hooks,
			    const char *name, void (*run)(void *arg), void *arg);

/* Wait for the end of the thread. Does nothing for one that was not started or is joined. */
int thread_join(struct thread *thread);

/* Block every signal in the calling thread; the mask before goes to @before unless it is NULL. */
int thread_block_signals(sigset_t *before);

#endif
