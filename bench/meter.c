/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/meter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct metered {
	struct meter *meter;
	void (*run)(void *arg);
	void *arg;
	pthread_t id;
};

static void *run_metered(void *arg)
{
	struct metered *thread = arg;
	struct timespec used;

	thread->run(thread->arg);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	atomic_fetch_add(&thread->meter->ns,
			 (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec);
	return NULL;
}

static int create(void *opaque, const char *name, void (*run)(void *arg), void *arg, void **out)
{
	struct metered *thread = malloc(sizeof(*thread));
	int r;

	if (!thread)
		return -ENOMEM;
	*thread = (struct metered){.meter = opaque, .run = run, .arg = arg};
	r = pthread_create(&thread->id, NULL, run_metered, thread);
	if (r) {
		free(thread);
		return -r;
	}
	pthread_setname_np(thread->id, name);
	*out = thread;
	return 0;
}

static int join(void *opaque, void *handle)
{
	struct metered *thread = handle;
	int r = pthread_join(thread->id, NULL);

	if (!r)
		free(thread);
	return -r;
}

void meter_init(struct meter *meter)
{
	meter->hooks = (struct vfm_thread_hooks){
		.size = sizeof(meter->hooks), .opaque = meter, .create = create, .join = join};
	atomic_init(&meter->ns, 0);
}

void meter_init_sides(struct meter meters[2], struct meter *sides[2])
{
	for (int i = 0; i < 2; i++) {
		meter_init(&meters[i]);
		sides[i] = &meters[i];
	}
}

int meter_start(struct meter *meter, void (*run)(void *arg), void *arg, void **thread)
{
	return create(meter, "bench", run, arg, thread);
}

void meter_join(struct meter *meter, void *thread)
{
	join(meter, thread);
}
