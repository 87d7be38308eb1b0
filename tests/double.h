/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Test doubles for the engine: a device and a VM that are bytes in memory, and fail on demand.
 *
 * The device's state is `size` bytes. In PRE_COPY it gives them once, then nothing; in STOP_COPY it
 * gives all of them again. A loading device keeps what it gets and checks length and sum when it
 * leaves RESUMING. The VM's guest is a counter that nobody increments but run() and stop().
 */
#ifndef TESTS_DOUBLE_H
#define TESTS_DOUBLE_H

#include <pthread.h>
#include <semaphore.h>
#include <vfio-migrate/migrate.h>
#include "device/device.h"

struct double_device {
	struct vfm_device dev; /* the first member */
	uint8_t *state, *loaded;
	size_t size, read_at, loaded_size;
	/* What PRE_COPY tells; initial_bytes falls with each read. UINT64_MAX: not told. */
	uint64_t initial_bytes;
	unsigned infos, reinit_at; /* REINIT with initial_again bytes at that query; 0: never */
	unsigned reinit_times;     /* and at so many after it */
	uint64_t initial_again;
	unsigned writes, transitions, resets;
	/* Faults: the transition with that number fails so; 0: none. */
	unsigned fail_transition;
	int fail_errno;
	enum vfm_state stay_in; /* no arc leads out of it; VFM_STATE_ERROR: none */
	bool refuse_state;      /* leaving RESUMING fails with EINVAL */
	bool no_log;            /* log_start fails */
	uint64_t log_page_size; /* what log_start takes; 0: what is asked for */
	int read_errno;         /* read fails so */
	sem_t *hold_writes; /* write waits for it */
	/* read waits for a cancel, and does not hear the first ones, so many. */
	bool hold_reads;
	unsigned deaf;
	sem_t reading, cancelled; /* one has begun; one was heard */
	bool gave_up;             /* none was for long */
	long answer_ns;     /* that it takes to say in which state it is */
	long arc_ns;        /* and to go to another */
	size_t loaded_total;
};

int double_device_new(const char *name, size_t size, uint32_t mig_flags, unsigned seed,
		      struct double_device **dev);
void double_device_free(struct double_device *dev);

struct double_vm {
	uint8_t *memory;
	size_t size;
	struct vfm_region regions[2];
	pthread_mutex_t lock;
	bool running;
	bool owned;
	unsigned runs, stops;
	char state[32];          /* saved and loaded */
	size_t dirty_each_sync;  /* pages that the "guest" writes between two reports */
	unsigned syncs;
	int fail_stop, fail_save, fail_load, fail_run, fail_sync;
	char log[16][256];       /* the last lines */
	unsigned log_count;
	/* Called in an event: to cancel, to kill. */
	void (*on_event)(struct double_vm *vm, const struct vfm_event *event);
	void *on_event_arg;
	void (*on_owned)(struct double_vm *vm);
};

int double_vm_init(struct double_vm *vm, size_t size, bool running);
void double_vm_destroy(struct double_vm *vm);
extern const struct vfm_vm_ops double_vm_ops;
void double_vm_options(struct double_vm *vm, struct vfm_options *options);
bool double_vm_running(struct double_vm *vm);

#endif
