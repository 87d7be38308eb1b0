/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: one memfd, so that device servers can map it. Below 3 GiB it starts at guest
 * physical 0; the rest goes above 4 GiB, since devices and the local APIC live between the two.
 * The host's mapping has the same hole. Pages come into being when they are first touched.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/vm.h"

#define LOW_MAX    (3ull << 30)
#define HIGH_START (4ull << 30)

static void add_region(struct vmm_memory *m, const char *name, uint64_t gpa, uint64_t size,
		       uint64_t offset)
{
	struct vfm_region *r = &m->region[m->count];

	snprintf(r->name, sizeof(r->name), "%s", name);
	r->gpa = gpa;
	r->size = size;
	r->host = m->base + gpa;
	r->flags = VFM_REGION_ZEROED;
	m->offset[m->count++] = offset;
}

static int map_regions(struct vmm_memory *m)
{
	unsigned i;

	for (i = 0; i < m->count; i++)
		if (mmap(m->region[i].host, m->region[i].size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, m->fd,
			 (off_t)m->offset[i]) == MAP_FAILED)
			return -errno;
	return 0;
}

static int reserve(struct vmm_memory *m, uint64_t size)
{
	uint64_t high = size > LOW_MAX ? size - LOW_MAX : 0;
	void *base;

	m->span = high ? HIGH_START + high : size;
	base = mmap(NULL, m->span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	m->base = base;
	add_region(m, "ram-low", 0, size - high, 0);
	if (high)
		add_region(m, "ram-high", HIGH_START, high, LOW_MAX);
	return 0;
}

int ram_new(struct vmm_memory *m, uint64_t size, char *why)
{
	int ret;

	memset(m, 0, sizeof(*m));
	m->fd = memfd_create("guest-memory", MFD_CLOEXEC);
	ret = m->fd < 0 ? -errno : 0;
	if (!ret && ftruncate(m->fd, (off_t)size) < 0)
		ret = -errno;
	if (!ret)
		ret = reserve(m, size);
	if (!ret)
		ret = map_regions(m);
	if (ret < 0) {
		snprintf(why, VMM_WHY_MAX, "guest memory: %s", strerror(-ret));
		ram_free(m);
	}
	return ret;
}

void ram_free(struct vmm_memory *m)
{
	if (m->base)
		munmap(m->base, m->span);
	if (m->fd >= 0)
		close(m->fd);
	m->base = NULL;
	m->fd = -1;
}

void *ram_at(const struct vmm_memory *m, uint64_t gpa, uint64_t size)
{
	unsigned i;

	for (i = 0; i < m->count; i++) {
		const struct vfm_region *r = &m->region[i];

		if (gpa >= r->gpa && gpa - r->gpa <= r->size && size <= r->size - (gpa - r->gpa))
			return m->base + gpa;
	}
	return NULL;
}
