/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A growing byte string with a hard limit. vfm_buffer_append() is public (vfio-migrate/vm.h); what
 * makes, empties and frees a buffer is not.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/vm.h>

struct vfm_buffer {
	uint8_t *data;   /* NULL while capacity is 0 */
	size_t size;     /* bytes in use */
	size_t capacity; /* bytes allocated */
	size_t limit;    /* size never grows past this */
};

/* An empty buffer: nothing is allocated yet. */
static inline void buffer_init(struct vfm_buffer *buffer, size_t limit)
{
	*buffer = (struct vfm_buffer){.limit = limit};
}

/* Give the memory back; the buffer is then empty and can be used again. */
void buffer_free(struct vfm_buffer *buffer);

/* Forget the bytes and keep the memory. */
static inline void buffer_clear(struct vfm_buffer *buffer)
{
	buffer->size = 0;
}

/* Valid until the next append or free. May be NULL while the size is 0. */
static inline const uint8_t *buffer_data(const struct vfm_buffer *buffer)
{
	return buffer->data;
}

static inline size_t buffer_size(const struct vfm_buffer *buffer)
{
	return buffer->size;
}

#endif
