/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A state file through vfm_state_file_check, as a restore reads it before it touches a device.
 *
 * Each input is read twice: as it is, and with sums and offsets made right, since no mutation would
 * get past those. Beyond what the sanitizers see, this must hold, or we trap: the header of a file
 * that was accepted gives the same bytes when it is encoded again, its numbers are what was read.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>
#include "base/compiler.h"
#include "file/file.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct vfm_state_file *file, const uint8_t *data, size_t size)
{
	struct file_header again;

	CHECK(size >= sizeof(again) && file->file_bytes == size && file->bytes <= size);
	file_put_header(&again, &file->identity);
	CHECK(!memcmp(&again, data, sizeof(again)));
}

static void read_file(const uint8_t *data, size_t size)
{
	struct vfm_state_file file = {.size = sizeof(file)};
	char why[256] = "";
	int fd = memfd_create("fuzz", MFD_CLOEXEC), ret;

	CHECK(fd >= 0);
	CHECK(write(fd, data, size) == (ssize_t)size);
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	ret = vfm_state_file_check(fd, &file, why, sizeof(why));
	CHECK(ret ? *why : !*why);
	if (!ret)
		check_accepted(&file, data, size);
	close(fd);
}

/* Make the sums right of what could be a file, chunk after chunk. */
static void mend(uint8_t *data, size_t size)
{
	struct file_header *header = (struct file_header *)data;
	struct file_chunk_head head = {.offset = 0};
	size_t at = sizeof(*header);
	XXH3_state_t *all = XXH3_createState();
	uint64_t seed;

	CHECK(all);
	if (size >= sizeof(*header)) {
		seed = file_digest(header, sizeof(*header) - sizeof(header->check), 0);
		header->check = put_le64(seed);
		XXH3_64bits_reset_withSeed(all, seed);
	}
	while (at < size && size - at >= sizeof(struct file_chunk)) {
		struct file_chunk *chunk = (struct file_chunk *)(data + at);

		at += sizeof(*chunk);
		head.type = (enum file_chunk_type)get_le32(chunk->type);
		head.size = get_le32(chunk->size);
		if (head.size > size - at)
			break;
		XXH3_64bits_update(all, data + at, head.size);
		head.digest = head.type == FILE_CHUNK_END ? XXH3_64bits_digest(all)
							  : file_digest(data + at, head.size, seed);
		file_put_chunk(chunk, &head, seed);
		head.offset += head.size;
		at += head.size;
	}
	XXH3_freeState(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *mended = malloc(size + 1);

	CHECK(mended);
	read_file(data, size);
	if (size)
		memcpy(mended, data, size);
	mend(mended, size);
	read_file(mended, size);
	free(mended);
	return 0;
}
