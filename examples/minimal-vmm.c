/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VMM in under 100 lines: its guest is a thread that counts in every page of 16 MiB of memory.
 *
 *	minimal-vmm recv unix:/tmp/move.sock &
 *	minimal-vmm send unix:/tmp/move.sock
 * A real one has KVM behind run, stop and dirty_sync, and adds devices to both sessions.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vfio-migrate/connect.h>
#include <vfio-migrate/migrate.h>

enum { PAGES = 4096, WORDS = VFM_PAGE_SIZE / 8 };
static _Atomic uint64_t memory[PAGES * WORDS] __attribute__((aligned(VFM_PAGE_SIZE)));
static _Atomic uint64_t dirty[PAGES / 64]; /* pages stored to since the last report */
static _Atomic int running;
static pthread_t vcpu;

static void *guest(void *unused)
{
	for (unsigned page = 0; running; page = (page + 1) % PAGES, usleep(20)) {
		memory[page * WORDS]++;
		dirty[page / 64] |= UINT64_C(1) << page % 64;
	}
	return unused;
}

static int run(void *opaque)
{
	running = 1;
	return -pthread_create(&vcpu, NULL, guest, NULL);
}

static int stop(void *opaque)
{
	running = 0;
	return -pthread_join(vcpu, NULL);
}

static int no_op(void *opaque)
{
	return 0;
}

static int dirty_sync(void *opaque, unsigned region, uint64_t *bitmap)
{
	for (unsigned i = 0; i < PAGES / 64; i++)
		bitmap[i] |= atomic_exchange(&dirty[i], 0);
	return 0;
}

static int save(void *opaque, struct vfm_buffer *out)
{
	return vfm_buffer_append(out, "state", 6);
}

static int load(void *opaque, const void *data, size_t size)
{
	return size == 6 ? memcmp(data, "state", 6) : -1;
}

static const struct vfm_vm_ops ops = {
	.size = sizeof(ops), .run = run, .stop = stop, .dirty_start = no_op, .dirty_stop = no_op,
	.dirty_sync = dirty_sync, .save = save, .load = load,
};

int main(int argc, char **argv)
{
	struct vfm_region region = { .name = "ram", .size = sizeof(memory), .host = memory };
	struct vfm_destination *destination;
	struct vfm_source *source;
	char why[128] = "usage: minimal-vmm send|recv ADDRESS";
	int recv = argc == 3 && !strcmp(argv[1], "recv");
	int fd = argc != 3 ? -1 : recv ? vfm_listen(argv[2], why, 128)
				       : vfm_connect(argv[2], 5000, why, 128);
	if (fd < 0)
		return fprintf(stderr, "%s\n", why), 2;
	if (recv) {
		poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 10000);
		vfm_destination_new(&region, 1, &ops, NULL, NULL, &destination);
		vfm_destination_start(destination);
		vfm_destination_attach(destination, vfm_accept(fd));
		if (vfm_destination_wait(destination) == 0)
			sleep(1), stop(NULL), printf("the guest runs here: %ju\n", (uintmax_t)*memory);
		return vfm_destination_free(destination), 0;
	}
	run(NULL), sleep(1);
	vfm_source_new(&region, 1, &ops, NULL, NULL, &source);
	vfm_source_start(source, fd), vfm_source_wait(source);
	char *report = vfm_source_report_json(source);
	puts(report), free(report);
	return vfm_source_free(source), 0;
}
