/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/guest.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/compiler.h"

/* ---- memory ---- */

static int map_file(struct guest *guest, int fd, uint64_t file_size)
{
	for (uint64_t at = 0; at < guest->size; at += file_size)
		if (mmap(guest->memory + at, file_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
			return -errno;
	return 0;
}

static int map_memory(struct guest *guest, uint64_t file_size)
{
	int fd = memfd_create("bench-guest", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)file_size) ? -errno : map_file(guest, fd, file_size);
	close(fd);
	return r;
}

int guest_init(struct guest *guest, uint64_t size, uint64_t file_size)
{
	int r;

	*guest = (struct guest){.size = size};
	guest->memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (guest->memory == MAP_FAILED)
		return -errno;
	r = map_memory(guest, file_size);
	if (r) {
		munmap(guest->memory, size);
		return r;
	}
	guest->region = (struct vfm_region){.name = "ram", .size = size, .host = guest->memory};
	return 0;
}

void guest_destroy(struct guest *guest)
{
	munmap(guest->memory, guest->size);
}

void guest_fill(struct guest *guest, uint64_t size, uint64_t seed)
{
	uint64_t *words = (uint64_t *)guest->memory;

	guest->seed = seed;
	for (uint64_t i = 0; i < size / sizeof(*words); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		words[i] = seed;
	}
}

void guest_clear(struct guest *guest, uint64_t size)
{
	guest->seed = 0;
	guest->running = false;
	memset(guest->memory, 0, size);
}

bool guest_equal(const struct guest *a, const struct guest *b)
{
	return a->size == b->size && a->seed == b->seed && !memcmp(a->memory, b->memory, a->size);
}

/* ---- the VMM's part ---- */

static int run(void *opaque)
{
	((struct guest *)opaque)->running = true;
	return 0;
}

static int stop(void *opaque)
{
	((struct guest *)opaque)->running = false;
	return 0;
}

static int track(void *opaque UNUSED)
{
	return 0;
}

/* Nobody writes. */
static int dirty_sync(void *opaque UNUSED, unsigned region UNUSED, uint64_t *bitmap UNUSED)
{
	return 0;
}

static int save(void *opaque, struct vfm_buffer *out)
{
	struct guest *guest = opaque;

	return vfm_buffer_append(out, &guest->seed, sizeof(guest->seed));
}

static int load(void *opaque, const void *data, size_t size)
{
	struct guest *guest = opaque;

	if (size != sizeof(guest->seed))
		return -EINVAL;
	memcpy(&guest->seed, data, size);
	return 0;
}

const struct vfm_vm_ops guest_ops = {
	.size = sizeof(guest_ops),
	.run = run,
	.stop = stop,
	.dirty_start = track,
	.dirty_stop = track,
	.dirty_sync = dirty_sync,
	.save = save,
	.load = load,
};
