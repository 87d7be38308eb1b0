/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * make-corpus-state-file [--check] DIRECTORY
 *
 * Writes sample files. With --check it compares with what is there instead: the bytes of a released
 * version must not change by accident.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/compiler.h"
#include "file/file.h"

#define FILE_MAX 4096u

static const struct vfm_identity served = {
	.size = sizeof(served),
	.name = "dev0",
	.backend = "vfio-user",
	.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY,
	.pci_vendor = 0x5646,
	.pci_device = 0x4d31,
	.pci_subsystem_vendor = 0x5646,
	.pci_subsystem = 1,
	.page_size = 4096,
	.has_bars = 1,
	.bar = {4096, 0, 4096, 0, 4096, 0},
};

static const struct vfm_identity serial = {
	.size = sizeof(serial),
	.name = "10000000-0000-0000-0000-000000000001",
	.backend = "vfio",
	.driver = "mtty",
	.type = "mtty-1",
	.mig_flags = VFM_MIG_STOP_COPY,
	.pci_vendor = 0xffff,
	.pci_device = 0xffff,
	.pci_subsystem_vendor = 0xffff,
	.pci_subsystem = 0xffff,
};

static const struct {
	const char *name;
	const struct vfm_identity *identity;
	size_t size; /* of the state */
} samples[] = {
	{"empty", &serial, 0},
	{"serial", &serial, 60},
	{"served", &served, 1000},
};

/* The sample's bytes; how many, -1 on failure. */
static ssize_t encode(size_t sample, unsigned char bytes[FILE_MAX])
{
	int fd = memfd_create("corpus", MFD_CLOEXEC), ret;
	struct file_writer *writer;
	unsigned char *data;
	ssize_t size;
	size_t room;

	if (fd < 0 || file_writer_new(fd, samples[sample].identity, NULL, &writer))
		return -1;
	data = file_writer_buffer(writer, &room);
	for (size_t i = 0; i < samples[sample].size; i++)
		data[i] = (unsigned char)(i * 7);
	ret = file_writer_add(writer, samples[sample].size);
	if (!ret)
		ret = file_writer_end(writer);
	file_writer_free(writer);
	size = ret ? -1 : pread(fd, bytes, FILE_MAX, 0);
	close(fd);
	return size;
}

static int write_file(const char *path, const unsigned char *bytes, size_t size)
{
	FILE *out = fopen(path, "wb");
	size_t written;

	if (!out)
		return -1;
	written = fwrite(bytes, 1, size, out);
	return fclose(out) || written != size ? -1 : 0;
}

static int compare_file(const char *path, const unsigned char *bytes, size_t size)
{
	unsigned char there[FILE_MAX];
	FILE *in = fopen(path, "rb");
	size_t got;

	if (!in)
		return -1;
	got = fread(there, 1, sizeof(there), in);
	fclose(in);
	return got == size && !memcmp(there, bytes, size) ? 0 : -1;
}

static int make(const char *directory, bool check, size_t sample)
{
	unsigned char bytes[FILE_MAX];
	char path[4096];
	ssize_t size = encode(sample, bytes);
	int ret = -1;

	snprintf(path, sizeof(path), "%s/%s", directory, samples[sample].name);
	if (size >= 0)
		ret = check ? compare_file(path, bytes, (size_t)size)
			    : write_file(path, bytes, (size_t)size);
	if (ret)
		fprintf(stderr, "%s: %s\n", path, check ? "differs" : "cannot be written");
	return ret;
}

int main(int argc, char **argv)
{
	bool check = argc == 3 && !strcmp(argv[1], "--check");
	int failed = 0;

	if (argc != 2 + check) {
		fprintf(stderr, "usage: %s [--check] DIRECTORY\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		failed |= make(argv[argc - 1], check, i);
	return failed ? 1 : 0;
}
