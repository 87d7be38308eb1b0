/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Inside of vfm_sim, the kernel's front end of the simulated device (sim/core.h).
 *
 *	driver.c     the module, the mdev parent and its types, a device's coming and going
 *	device.c     what every PCI device has: open, regions, reset
 *	irq.c        interrupts                      host.c       DMA, time
 *	migration.c  states, sizes                   data.c       the data fds
 *	logging.c    the log of DMA writes           attributes.c options, as files in sysfs, with
 *	                                             values.c and faults.c
 *	platform.c   what the core finds in the C library of a user's process
 *
 * Locks, the outer first:
 *
 *	(a data fd's own: it alone is held while a user's memory is copied)
 *	calls   one migration call at a time: state changes, reads and writes of data fds, reset,
 *	        open and close, new options. It is held while the device takes its time.
 *	core    struct sim: around every sim_*(). While the device takes its time in a call
 *	        (delay() of host.c) it is dropped, so that DMA, registers and the log go on.
 *
 * VFIO's lock of the device set (open, close) comes before `calls`. Below `core` are the IOMMU's
 * locks and what page faults take (vfio_dma_rw()). So nobody else copies to or from a user's memory
 * with `core` held, or pins it, and nothing that is called with mmap_lock held takes one of the two.
 *
 * What remains is DMA itself. vfio_dma_rw() faults in what the user mapped, with locks of VFIO's own
 * held: one who lets such a fault wait for ever (userfaultfd, FUSE) keeps his device from stopping and
 * from being closed, as he can with any driver that calls it.
 *
 * The device moves in a work item, and only with `core` held, between open and close. So what a
 * state change returned is the truth: when it was to a state without DMA, no more is written.
 */
#ifndef KSIM_H
#define KSIM_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/mutex.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "sim/core.h"
#include "sim/personality.h"

/* All that can be set, by the files in attributes.c. */
struct ksim_config {
	struct sim_options sim;
	bool initial_given; /* else initial_size follows the state's size */
	u32 tick_us;
	bool poll;          /* data fds have a poll operation */
	bool reset_on_disconnect;
};

/* What happened since the device was made, in debugfs. */
struct ksim_counters {
	u64 opens;
	u64 resets;
	u64 arcs;        /* state changes that worked */
	u64 refusals;    /* and that did not */
	u64 sessions;    /* data fds given out */
	u64 bytes_read;
	u64 bytes_written;
	u64 stale;       /* accesses to a data fd that had ended */
	u64 dma_reads;
	u64 dma_writes;
	u64 dma_faults;
	u64 ticks;
};

struct ksim {
	struct vfio_device vdev;
	struct dentry *debugfs;

	struct mutex calls;
	/* under calls, and changed with core held, too: */
	struct ksim_config config;
	bool open;
	u64 user; /* which of those who had it open, from 1 */

	struct mutex core;
	/* under core; the pointer changes with calls held, and only while nobody has it open: */
	struct sim *sim;
	bool moves;   /* the device is open: it may tick */
	bool ticking; /* and does: timer or work are under way */
	struct eventfd_ctx *irq[SIM_MSIX_VECTORS_MAX];
	u64 log_page;      /* bytes of a page of the log that was started last */
	struct ksim_counters count;

	bool closing; /* delays end now */
	wait_queue_head_t wake;    /* for delays */
	wait_queue_head_t readers; /* for who polls a data fd */
	struct hrtimer timer;
	struct work_struct work;
};

static inline struct ksim *to_ksim(struct vfio_device *vdev)
{
	return container_of(vdev, struct ksim, vdev);
}

/* driver.c: a device for these options in the place of the one that is there, or -errno. */
int ksim_make(struct ksim *k, const struct ksim_config *config);

int ksim_init_device(struct vfio_device *vdev);
void ksim_release_device(struct vfio_device *vdev);

/* Killable: -EINTR. */
int ksim_lock_calls(struct ksim *k);

/* host.c */
int ksim_host_init(void);
void ksim_host_exit(void);

/* Who leaves the core sees to it that the device goes on moving, if it has to. */
void ksim_lock_core(struct ksim *k);
void ksim_unlock_core(struct ksim *k);
void ksim_init_time(struct ksim *k);
void ksim_stop_time(struct ksim *k);
extern const struct sim_host_ops ksim_host_ops;

/* device.c */
extern const struct vfio_device_ops ksim_device_ops;

/* irq.c */
long ksim_irq_info(struct ksim *k, void __user *arg);
long ksim_set_irqs(struct ksim *k, void __user *arg);
void ksim_clear_irqs(struct ksim *k); /* core is held */

/* migration.c, logging.c */
extern const struct vfio_migration_ops ksim_migration_ops;
extern const struct vfio_log_ops ksim_log_ops;

/* data.c: a file for the data session that a change to @state would open, NULL: it opens none.
 * calls is held. It is connected with the session that is open, or dropped by fput(). */
struct file *ksim_new_data(struct ksim *k, u32 state);
void ksim_connect_data(struct ksim *k, struct file *file);

/* attributes.c */
void ksim_attributes_init(void);
extern const struct attribute_group *ksim_attribute_groups[];
void ksim_config_init(struct ksim_config *config, const struct sim_personality *who);

/* debugfs.c */
void ksim_debugfs_init(void);
void ksim_debugfs_exit(void);
void ksim_debugfs_add(struct ksim *k, const char *name);
void ksim_debugfs_remove(struct ksim *k);

#endif
