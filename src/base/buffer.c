/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/buffer.h"
#include "base/compiler.h"

#define CAPACITY_MIN ((size_t)256)

/* Double, so that many appends stay linear, but never past the limit. */
static size_t grown(const struct vfm_buffer *buffer, size_t size)
{
	size_t capacity = MAX(buffer->capacity, CAPACITY_MIN / 2);

	capacity = capacity <= buffer->limit / 2 ? capacity * 2 : buffer->limit;
	return MAX(capacity, size);
}

/* Room for @size bytes, which is within the limit. */
static int reserve(struct vfm_buffer *buffer, size_t size)
{
	size_t capacity = grown(buffer, size);
	uint8_t *data;

	if (size <= buffer->capacity)
		return 0;
	data = realloc(buffer->data, capacity);
	if (!data)
		return -ENOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

VFM_API int vfm_buffer_append(struct vfm_buffer *buffer, const void *data, size_t size)
{
	int ret;

	if (size > buffer->limit - buffer->size)
		return -EFBIG;
	if (!size)
		return 0;
	ret = reserve(buffer, buffer->size + size);
	if (ret < 0)
		return ret;
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	return 0;
}

void buffer_free(struct vfm_buffer *buffer)
{
	free(buffer->data);
	buffer_init(buffer, buffer->limit);
}
