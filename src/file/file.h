/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file: a device's state in a file.
 *
 *	device ──> save.c ──> write.c ──> bytes (format.h) ──> read.c ──> restore.c ──> device
 *
 * A writer and a reader each have one buffer of a chunk; a file may be larger than memory.
 */
#ifndef FILE_FILE_H
#define FILE_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfio-migrate/state-file.h>
#include "file/format.h"

/* ---- write.c ---- */

struct file_writer;

/*
 * The header is written. 0 or -errno of write(2). Where others may be slow to take what is written,
 * it waits without being in write(2), and looks at @cancelled (NULL: nobody cancels): -ECANCELED.
 */
int file_writer_new(int fd, const struct vfm_identity *identity, const atomic_bool *cancelled,
		    struct file_writer **writer);
void file_writer_free(struct file_writer *writer);

/* Where the next data go: *@room bytes, at least one. */
void *file_writer_buffer(struct file_writer *writer, size_t *room);
/* @size bytes are there now. -EFBIG past VFM_STATE_FILE_MAX, -errno of write(2). */
int file_writer_add(struct file_writer *writer, size_t size);
/* The last chunk; without it the file is not whole. */
int file_writer_end(struct file_writer *writer);
uint64_t file_writer_bytes(const struct file_writer *writer);

/* ---- read.c ---- */

struct file_reader;

/* The header is read. Errors as for vfm_state_file_check. */
int file_reader_new(int fd, struct file_reader **reader);
void file_reader_free(struct file_reader *reader);

const struct vfm_identity *file_reader_identity(const struct file_reader *reader);

/* The next data, checked, in *@data until the next call; *@size 0: the end, all was right. */
int file_reader_next(struct file_reader *reader, const void **data, size_t *size);
uint64_t file_reader_bytes(const struct file_reader *reader);      /* of data, so far */
uint64_t file_reader_file_bytes(const struct file_reader *reader); /* of the file, so far */

/* Of the header, which seeds the rest, and of all data so far: a file with both is the same one. */
struct file_sums {
	uint64_t header;
	uint64_t data;
};

struct file_sums file_reader_sums(const struct file_reader *reader);

/* Called before each chunk; anything but 0 ends it so. */
typedef int file_step_fn(void *opaque);

/* All of it, with the reason in @why. @sums, @step may be NULL. */
int file_check(int fd, struct vfm_state_file *file, struct file_sums *sums, file_step_fn *step,
	       void *opaque, char *why, size_t why_size);

/* ---- worker.c ---- */

/* What both directions hand to their thread. */
struct file_job {
	struct vfm_device *device;
	struct vfm_identity identity;
	int fd;
	struct vfm_state_options options;
	enum vfm_device_end end;
	struct vfm_error *error;
	void (*run)(void *job);
	int result;
	atomic_bool cancelled;
	pthread_mutex_t lock; /* of the two below, and held while the device's cancel is called */
	bool moving;          /* data of the device: it may be cancelled */
	bool done;
	pthread_cond_t ended; /* done */
};

/* Run @run on a thread of its own; returns the job's result. @identity, @options, @end, @error: as
 * the caller of the library gave them. */
int file_run(struct file_job *job, void (*run)(void *job), const struct vfm_identity *identity,
	     const struct vfm_state_options *options, enum vfm_device_end *end,
	     struct vfm_error *error);

/* The device moves data from here on, or no more: in between alone its cancel is called, so that
 * the arc that puts it back is not cancelled. */
void file_moving(struct file_job *job, bool moving);

/* Tell how far it is. -ECANCELED: no further. */
int file_progress(struct file_job *job, uint64_t bytes, uint64_t total);

#endif
