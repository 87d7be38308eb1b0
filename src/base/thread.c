/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new thread inherits the mask of its creator. So the creator blocks every signal, creates and
 * restores its own mask: there is no moment at which the new thread could take one. A hook
 * creates with a mask that we do not know, so the first thing that the hooked thread does is to
 * block them.
 */
#include <errno.h>
#include <stdio.h>
#include "base/thread.h"

int thread_block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	return -pthread_sigmask(SIG_SETMASK, &all, before);
}

static void *own_main(void *arg)
{
	struct thread *thread = arg;

	/* A name is a help for people; a system that refuses it loses nothing else. */
	pthread_setname_np(pthread_self(), thread->name);
	thread->run(thread->arg);
	return NULL;
}

static int own_create(struct thread *thread)
{
	sigset_t before;
	int ret = thread_block_signals(&before);

	if (ret < 0)
		return ret;
	ret = -pthread_create(&thread->id, NULL, own_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

static void hooked_main(void *arg)
{
	struct thread *thread = arg;

	thread_block_signals(NULL);
	thread->run(thread->arg);
}

static int hooked_create(struct thread *thread, const struct vfm_thread_hooks *hooks)
{
	if (hooks->size < sizeof(*hooks) || !hooks->create || !hooks->join)
		return -EINVAL;
	thread->hooks = *hooks;
	thread->hooked = true;
	return hooks->create(hooks->opaque, thread->name, hooked_main, thread, &thread->handle);
}

int thread_start(struct thread *thread, const struct vfm_thread_hooks *hooks, const char *name,
		 void (*run)(void *arg), void *arg)
{
	int ret;

	*thread = (struct thread){.run = run, .arg = arg};
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	ret = hooks ? hooked_create(thread, hooks) : own_create(thread);
	thread->started = ret == 0;
	return ret;
}

int thread_join(struct thread *thread)
{
	int ret;

	if (!thread->started)
		return 0;
	if (thread->hooked)
		ret = thread->hooks.join(thread->hooks.opaque, thread->handle);
	else
		ret = -pthread_join(thread->id, NULL);
	if (ret == 0)
		thread->started = false;
	return ret;
}
