/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include "base/compiler.h"
#include "file/file.h"

struct file_reader {
	int fd;
	struct vfm_identity identity;
	uint64_t seed;
	uint64_t offset;      /* bytes of data so far */
	uint64_t read;        /* bytes of the file so far */
	XXH3_state_t *digest; /* of all data */
	unsigned char chunk[FILE_CHUNK_MAX];
};

/* Up to @size bytes; fewer: the file ends. */
static ssize_t read_some(struct file_reader *reader, void *data, size_t size)
{
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = read(reader->fd, (char *)data + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	reader->read += done;
	return (ssize_t)done;
}

static int read_all(struct file_reader *reader, void *data, size_t size)
{
	ssize_t n = read_some(reader, data, size);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EBADMSG;
}

/* Too short for a header is too short to be told from anything else. */
static int read_header(struct file_reader *reader)
{
	struct file_header header = {.magic = ""};
	ssize_t n = read_some(reader, &header, sizeof(header));
	int ret;

	if (n < 0)
		return (int)n;
	ret = file_get_header(&header, &reader->identity, &reader->seed);
	return (size_t)n < sizeof(header) && ret != -EINVAL ? -EBADMSG : ret;
}

int file_reader_new(int fd, struct file_reader **reader)
{
	struct file_reader *made = calloc(1, sizeof(*made));
	int ret = -ENOMEM;

	if (made)
		made->digest = XXH3_createState();
	if (made && made->digest) {
		made->fd = fd;
		ret = read_header(made);
		XXH3_64bits_reset_withSeed(made->digest, made->seed);
	}
	if (ret)
		file_reader_free(made);
	else
		*reader = made;
	return ret;
}

void file_reader_free(struct file_reader *reader)
{
	if (!reader)
		return;
	XXH3_freeState(reader->digest);
	free(reader);
}

const struct vfm_identity *file_reader_identity(const struct file_reader *reader)
{
	return &reader->identity;
}

/* Nothing may follow: what else is in a file whose end came would not be covered by a sum. */
static int read_end(struct file_reader *reader, const struct file_chunk_head *head)
{
	char byte;
	ssize_t n;

	if (head->digest != XXH3_64bits_digest(reader->digest))
		return -EBADMSG;
	n = read_some(reader, &byte, 1);
	return n > 0 ? -EBADMSG : (int)n;
}

static int read_data(struct file_reader *reader, const struct file_chunk_head *head)
{
	int ret = read_all(reader, reader->chunk, head->size);

	if (ret)
		return ret;
	if (head->digest != file_digest(reader->chunk, head->size, reader->seed))
		return -EBADMSG;
	XXH3_64bits_update(reader->digest, reader->chunk, head->size);
	reader->offset += head->size;
	return 0;
}

int file_reader_next(struct file_reader *reader, const void **data, size_t *size)
{
	struct file_chunk_head head;
	struct file_chunk chunk;
	int ret = read_all(reader, &chunk, sizeof(chunk));

	if (!ret)
		ret = file_get_chunk(&chunk, reader->seed, reader->offset, &head);
	if (ret)
		return ret;
	*data = reader->chunk;
	*size = head.size;
	return head.type == FILE_CHUNK_END ? read_end(reader, &head) : read_data(reader, &head);
}

uint64_t file_reader_bytes(const struct file_reader *reader)
{
	return reader->offset;
}

uint64_t file_reader_file_bytes(const struct file_reader *reader)
{
	return reader->read;
}

struct file_sums file_reader_sums(const struct file_reader *reader)
{
	return (struct file_sums){
		.header = reader->seed, .data = XXH3_64bits_digest(reader->digest)};
}

/* ---- the whole ---- */

static int read_through(struct file_reader *reader, file_step_fn *step, void *opaque)
{
	const void *data;
	size_t size = 0;
	int ret;

	do {
		ret = step ? step(opaque) : 0;
		if (!ret)
			ret = file_reader_next(reader, &data, &size);
	} while (!ret && size);
	return ret;
}

static void explain(int error, uint64_t bytes, char *why, size_t size)
{
	if (error == -EINVAL)
		snprintf(why, size, "it is no saved state of a device");
	else if (error == -EPROTONOSUPPORT)
		snprintf(why, size, "it is the saved state of a device in a format that is not "
				    "known here");
	else if (error == -ECANCELED)
		snprintf(why, size, "cancelled");
	else if (error == -EBADMSG)
		snprintf(why, size, "it was cut or altered: found out after %llu bytes",
			 (unsigned long long)bytes);
	else
		snprintf(why, size, "reading it: %s", strerror(-error));
}

int file_check(int fd, struct vfm_state_file *file, struct file_sums *sums, file_step_fn *step,
	       void *opaque, char *why, size_t why_size)
{
	struct file_reader *reader = NULL;
	int ret = file_reader_new(fd, &reader);

	if (!ret) {
		ret = read_through(reader, step, opaque);
		file->identity = reader->identity;
		file->bytes = reader->offset;
		file->file_bytes = reader->read;
		if (sums)
			*sums = file_reader_sums(reader);
	}
	if (ret && why && why_size)
		explain(ret, reader ? reader->read : 0, why, why_size);
	file_reader_free(reader);
	return ret;
}

VFM_API int vfm_state_file_check(int fd, struct vfm_state_file *file, char *why, size_t why_size)
{
	if (file->size != sizeof(*file))
		return -EINVAL;
	return file_check(fd, file, NULL, NULL, NULL, why, why_size);
}
