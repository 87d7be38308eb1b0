/* SPDX-License-Identifier: BSD-3-Clause */
/* Chunks are full but for the last: data are gathered until they are, since a device may give its
 * state in pieces of any size. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "base/compiler.h"
#include "file/file.h"

#define LOOK_MS 100 /* between two looks whether it is cancelled */

struct file_writer {
	int fd;
	mode_t kind;          /* S_IFREG and the like */
	const atomic_bool *cancelled;
	uint64_t seed;
	uint64_t offset;      /* of the chunk under way */
	size_t filled;        /* of it */
	XXH3_state_t *digest; /* of all data */
	unsigned char chunk[FILE_CHUNK_MAX];
};

/* Until it takes something. A peer that does not read would keep write(2), and the device with it,
 * for ever. */
static int wait_writable(const struct file_writer *writer)
{
	struct pollfd pollfd = {.fd = writer->fd, .events = POLLOUT};

	for (;;) {
		if (writer->cancelled && atomic_load(writer->cancelled))
			return -ECANCELED;
		if (poll(&pollfd, 1, LOOK_MS) > 0)
			return 0;
	}
}

/* A pipe that poll calls writable takes PIPE_BUF bytes at once, whether or not its flags say that
 * write(2) may sleep: they are shared with others and not ours to change. */
static ssize_t write_some(const struct file_writer *writer, const char *at, size_t size)
{
	if (writer->kind == S_IFSOCK)
		return send(writer->fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(writer->fd, at, writer->kind == S_IFREG ? size : MIN(size, (size_t)PIPE_BUF));
}

static int write_all(const struct file_writer *writer, const void *data, size_t size)
{
	const char *at = data;
	ssize_t n;
	int ret;

	while (size) {
		ret = writer->kind == S_IFREG ? 0 : wait_writable(writer);
		if (ret)
			return ret;
		n = write_some(writer, at, size);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int file_writer_new(int fd, const struct vfm_identity *identity, const atomic_bool *cancelled,
		    struct file_writer **writer)
{
	struct file_writer *made = calloc(1, sizeof(*made));
	struct file_header header;
	struct stat st;
	int ret = -ENOMEM;

	if (made)
		made->digest = XXH3_createState();
	if (made && made->digest) {
		made->fd = fd;
		made->kind = fstat(fd, &st) ? S_IFREG : st.st_mode & S_IFMT;
		made->cancelled = cancelled;
		made->seed = file_put_header(&header, identity);
		XXH3_64bits_reset_withSeed(made->digest, made->seed);
		ret = write_all(made, &header, sizeof(header));
	}
	if (ret)
		file_writer_free(made);
	else
		*writer = made;
	return ret;
}

void file_writer_free(struct file_writer *writer)
{
	if (!writer)
		return;
	XXH3_freeState(writer->digest);
	free(writer);
}

void *file_writer_buffer(struct file_writer *writer, size_t *room)
{
	*room = FILE_CHUNK_MAX - writer->filled;
	return writer->chunk + writer->filled;
}

static int flush(struct file_writer *writer)
{
	struct file_chunk_head head = {
		.type = FILE_CHUNK_DATA,
		.size = (uint32_t)writer->filled,
		.offset = writer->offset,
		.digest = file_digest(writer->chunk, writer->filled, writer->seed),
	};
	struct file_chunk chunk;
	int ret;

	file_put_chunk(&chunk, &head, writer->seed);
	XXH3_64bits_update(writer->digest, writer->chunk, writer->filled);
	ret = write_all(writer, &chunk, sizeof(chunk));
	if (!ret)
		ret = write_all(writer, writer->chunk, writer->filled);
	writer->offset += writer->filled;
	writer->filled = 0;
	return ret;
}

int file_writer_add(struct file_writer *writer, size_t size)
{
	writer->filled += size;
	if (writer->filled > VFM_STATE_FILE_MAX - writer->offset)
		return -EFBIG;
	return writer->filled == FILE_CHUNK_MAX ? flush(writer) : 0;
}

int file_writer_end(struct file_writer *writer)
{
	struct file_chunk_head head = {.type = FILE_CHUNK_END};
	struct file_chunk chunk;
	int ret = writer->filled ? flush(writer) : 0;

	head.offset = writer->offset;
	head.digest = XXH3_64bits_digest(writer->digest);
	file_put_chunk(&chunk, &head, writer->seed);
	return ret ? ret : write_all(writer, &chunk, sizeof(chunk));
}

uint64_t file_writer_bytes(const struct file_writer *writer)
{
	return writer->offset + writer->filled;
}
