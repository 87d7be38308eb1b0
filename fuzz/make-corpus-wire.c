/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * make-corpus-wire [--check] DIRECTORY
 *
 * Writes one file per sample frame and two with the frames of a whole session, one per direction.
 * With --check it compares with what is there instead: the bytes of a released version must not
 * change by accident.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/compiler.h"
#include "fuzz/wire-any.h"
#include "wire/format.h"

/* The frames of one file. */
struct file {
	uint8_t *bytes;
	size_t size, room;
	struct wire_sequences sequences;
};

#define FILE_MAX (1u << 20)

static const char *const to_destination[] = {
	"hello", "describe", "setup", "memory", "device", "round", "memory-zero", "stopped",
	"continue", "round", "stopped", "memory", "device-last", "vm-state", "prepare", "commit",
	"bye",
};

static const char *const to_source[] = {
	"reply", "answer", "arcs", "costs", "ready", "credit", "round-done", "prepared", "running", "report",
};

static int append(struct file *file, const struct sample *sample, struct any *any)
{
	size_t size;

	if (file->room - file->size < WIRE_HEADER_SIZE + WIRE_HEAD_MAX + sample->bulk)
		return -1;
	size = sample_encode(sample, file->sequences.next[sample->stream]++,
			     file->bytes + file->size, any);
	file->size += size;
	for (uint32_t i = 0; i < sample->bulk; i++)
		file->bytes[file->size++] = (uint8_t)(i * 7);
	return 0;
}

static const struct sample *find(const char *name)
{
	for (unsigned i = 0; i < sample_count; i++)
		if (!strcmp(samples[i].name, name))
			return &samples[i];
	return NULL;
}

static int write_file(const char *path, const struct file *file)
{
	FILE *out = fopen(path, "wb");
	size_t written;

	if (!out)
		return -1;
	written = fwrite(file->bytes, 1, file->size, out);
	return fclose(out) || written != file->size ? -1 : 0;
}

static int compare_file(const char *path, const struct file *file)
{
	FILE *in = fopen(path, "rb");
	uint8_t *there = malloc(file->size + 1);
	size_t size = 0;
	int same;

	if (in && there)
		size = fread(there, 1, file->size + 1, in);
	same = in && there && size == file->size && !memcmp(there, file->bytes, size);
	if (in)
		fclose(in);
	free(there);
	return same ? 0 : -1;
}

/* A file that is there and not ours is fine: fuzzers find inputs that are worth keeping. */
static int make(const char *directory, bool check, const char *name, const char *const *names,
		size_t count)
{
	struct file file = {.bytes = malloc(FILE_MAX), .room = FILE_MAX};
	struct any *any = malloc(sizeof(*any));
	const struct sample *sample;
	char path[4096];
	int ret = file.bytes && any ? 0 : -1;

	for (size_t i = 0; !ret && i < count; i++) {
		sample = find(names[i]);
		ret = sample ? append(&file, sample, any) : -1;
	}
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (!ret)
		ret = check ? compare_file(path, &file) : write_file(path, &file);
	if (ret)
		fprintf(stderr, "%s: %s\n", path, check ? "differs" : "cannot be written");
	free(any);
	free(file.bytes);
	return ret;
}

static int make_all(const char *directory, bool check)
{
	int failed = 0;

	for (unsigned i = 0; i < sample_count; i++)
		if (!samples[i].large)
			failed |= make(directory, check, samples[i].name, &samples[i].name, 1);
	failed |= make(directory, check, "session-to-destination", to_destination,
		       ARRAY_SIZE(to_destination));
	failed |= make(directory, check, "session-to-source", to_source, ARRAY_SIZE(to_source));
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool check = argc == 3 && !strcmp(argv[1], "--check");

	if (argc != 2 + check) {
		fprintf(stderr, "usage: %s [--check] DIRECTORY\n", argv[0]);
		return 2;
	}
	return make_all(argv[argc - 1], check);
}
