/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `footprint`: the memory of a process that is one side of a migration, guest memory not counted.
 *
 * Each side runs in a process of its own, over TCP. Guest memory is shared and touched before, so
 * that the kernel's high-water mark of the process (VmHWM, set back before the session is made),
 * less its shared memory (RssShmem), is the peak of everything else: heap, stacks, the program
 * itself. The devices' state takes no memory (computed.h), nor does it matter how large it is; a
 * large VM is a small file mapped over and over (guest.h), each page of it with content.
 *
 * The aim is 32 MiB and the bitmaps: four bits per page of 4 KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/compiler.h"
#include "bench/child.h"
#include "bench/computed.h"
#include "bench/move.h"
#include "bench/pair.h"
#include "bench/report.h"

#define FILE_MAX    (UINT64_C(64) << 20) /* of guest memory that is really there */
#define PATIENCE_MS 300000
#define ENGINE_MIB  32.0

struct shape {
	uint64_t vm_size;
	unsigned devices;
	uint64_t state_size; /* of each */
};

#define M(n) ((uint64_t)(n) << 20)

static const struct shape shapes[] = {
	{M(64), 0, 0},
	{M(64), 1, M(16)},
	{M(64), 1, M(1024)},
	{M(4096), 1, M(16)},
	{M(64), 64, M(16)},
	{M(4096), 64, M(16)},
};

static const struct shape quick_shapes[] = {
	{M(16), 1, M(1)},
	{M(128), 64, M(1)},
};

/* What a side has found out: in memory that the parent shares. */
struct finding {
	uint64_t before; /* bytes, with guest memory mapped and no session */
	uint64_t peak;
};

struct side {
	enum move_side side;
	const struct shape *shape;
	struct finding *findings;
	int fds[MOVE_SIDES];
};

/* ---- in the side's process ---- */

/* A line "Name:  123 kB" of /proc/self/status, in bytes. */
static uint64_t status_bytes(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	size_t length = strlen(name);
	uint64_t kib = 0;
	char line[256];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, length) && line[length] == ':')
			sscanf(line + length + 1, "%" SCNu64, &kib);
	fclose(file);
	return kib << 10;
}

static int reset_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	int r = fd >= 0 && write(fd, "5", 1) == 1 ? 0 : -errno;

	if (fd >= 0)
		close(fd);
	return r;
}

static int make_devices(const struct shape *shape, struct computed *devices,
			struct vfm_device **pointers)
{
	int r = 0;

	for (unsigned i = 0; i < shape->devices && !r; i++) {
		char name[16];

		snprintf(name, sizeof(name), "dev%u", i);
		r = computed_init(&devices[i], name, shape->state_size);
		pointers[i] = &devices[i].dev;
	}
	return r;
}

static int measure(const struct side *side, struct move *move)
{
	struct finding *finding = &side->findings[side->side];
	int fd = side->fds[side->side];
	int r = reset_peak();

	if (r)
		return bench_fail(r, "setting back the peak of resident memory");
	finding->before = status_bytes("VmRSS") - status_bytes("RssShmem");
	r = side->side == MOVE_SOURCE ? move_source(move, fd) : move_destination(move, fd);
	finding->peak = status_bytes("VmHWM") - status_bytes("RssShmem");
	return r;
}

static int run_side(void *arg)
{
	static struct computed devices[VFM_DEVICES_MAX];
	static struct vfm_device *pointers[VFM_DEVICES_MAX];
	const struct side *side = arg;
	uint64_t file_size = MIN(side->shape->vm_size, FILE_MAX);
	struct move move = {.device_count = side->shape->devices,
			    .downtime_limit_ns = VFM_UNLIMITED};
	struct meter meter;
	struct guest guest;
	int r;

	close(side->fds[!side->side]);
	meter_init(&meter);
	r = guest_init(&guest, side->shape->vm_size, file_size);
	if (r)
		return bench_fail(r, "guest memory");
	if (side->side == MOVE_SOURCE)
		guest_fill(&guest, file_size, 1);
	move.guests[side->side] = &guest;
	move.devices[side->side] = pointers;
	move.meters[side->side] = &meter;
	r = make_devices(side->shape, devices, pointers);
	return r ? r : measure(side, &move);
}

/* ---- in the parent ---- */

static int run_sides(const struct shape *shape, struct finding *findings)
{
	struct child children[MOVE_SIDES] = {{0}};
	struct side side = {.shape = shape, .findings = findings};
	int r = pair_tcp(side.fds), s;

	if (r)
		return bench_fail(r, "connecting over loopback");
	for (int i = 0; i < MOVE_SIDES && !r; i++) {
		side.side = (enum move_side)i;
		r = child_start(&children[i], "bench-side", run_side, &side);
	}
	close(side.fds[0]);
	close(side.fds[1]);
	for (int i = 0; i < MOVE_SIDES; i++) {
		s = child_finish(&children[i], PATIENCE_MS, NULL);
		r = r ? r : s;
	}
	return r ? bench_fail(r, "one side of a migration") : 0;
}

static void tell(struct report *report, const struct shape *shape, const struct finding *findings)
{
	double bitmaps = (double)shape->vm_size / 4096 * 4 / 8 / MIB;

	for (int i = 0; i < MOVE_SIDES; i++) {
		char name[96];

		snprintf(name, sizeof(name), "%s, VM %.0f, %u x %.0f",
			 i == MOVE_SOURCE ? "source" : "destination", (double)shape->vm_size / MIB,
			 shape->devices, (double)shape->state_size / MIB);
		report_value(report, "footprint", name, "MiB", (double)findings[i].peak / MIB,
			     AT_MOST(ENGINE_MIB + bitmaps));
		snprintf(name, sizeof(name), "   of it before there was a session");
		report_value(report, "footprint", name, "MiB", (double)findings[i].before / MIB,
			     NO_AIM);
	}
}

static int run_shapes(const struct shape *all, unsigned count, struct finding *findings,
		      struct report *report)
{
	int r = 0;

	report_part(report, "Memory of each side, without guest memory",
		    "peak of the process; VM: MiB of memory, devices x MiB of state of each");
	for (unsigned i = 0; i < count && !r; i++) {
		r = run_sides(&all[i], findings);
		if (!r)
			tell(report, &all[i], findings);
	}
	return r;
}

int bench_footprint(const struct bench_options *options, struct report *report)
{
	struct finding *findings = mmap(NULL, sizeof(*findings) * MOVE_SIDES, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (findings == MAP_FAILED)
		return bench_fail(-errno, "a shared page");
	r = options->quick ?
		    run_shapes(quick_shapes, ARRAY_SIZE(quick_shapes), findings, report) :
		    run_shapes(shapes, ARRAY_SIZE(shapes), findings, report);
	munmap(findings, sizeof(*findings) * MOVE_SIDES);
	return r;
}
