/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of a migration in one process, over a socket pair, with doubles for VM and devices. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include <stdatomic.h>
#include "channel/channel.h"
#include "engine/source.h"
#include "tests/double.h"
#include "wire/wire.h"

enum { MEMORY = 256 << 10, STATE = 20000, DEVICES = 4 };
#define ALL_FLAGS (VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY)

/* A migration that is set up, and then spoiled as the test wants. */
struct rig {
	struct double_vm vm[2];
	struct double_device *devices[2][DEVICES];
	unsigned device_count;
	bool no_memory;           /* devices alone */
	struct vfm_source *source;
	struct vfm_destination *destination;
	int fds[2];
	struct channel_faults faults;
	atomic_bool lose_next;    /* the source's next frame is lost, and the connection with it */
	/* Sees each frame of the source before it is sent; on the sender's thread. */
	void (*on_frame)(struct rig *rig, const struct wire_header *header);
	struct vfm_options options[2]; /* of the sessions; change them between init and make */
	unsigned reconnects;      /* how often a source may ask again */
	bool asked;               /* it has asked; the test's own */
};


/* VMs, devices and options; no session yet. */
void rig_init(struct rig *rig, unsigned devices);
/* The sessions, with what the rig holds by now. */
void rig_make(struct rig *rig);
/* Both. */
void rig_up(struct rig *rig, unsigned devices);
int rig_start(struct rig *rig);
/* How the source asks again: a new connection, as long as there are reconnects left. Takes a vm's
 * double. */
int rig_reconnect(void *opaque);
/* The source's result. A destination that still waits after it is told to give up. */
int rig_finish(struct rig *rig);
void rig_down(struct rig *rig);
void assert_moved(struct rig *rig);
void assert_stayed(struct rig *rig);

#endif
