/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/move.h"

#include <stdio.h>
#include <unistd.h>
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/pair.h"

static void complain(const char *side, const struct vfm_error *error)
{
	char line[VFM_ERROR_TEXT_MAX + 128];

	fprintf(stderr, "bench: %s: %s\n", side, vfm_error_format(error, line, sizeof(line)));
}

static void side_options(const struct move *move, enum move_side side, struct vfm_options *options)
{
	vfm_options_init(options);
	if (move->options)
		*options = *move->options;
	options->downtime_limit_ns = move->downtime_limit_ns;
	options->threads = &move->meters[side]->hooks;
}

/* ---- source ---- */

static int make_source(struct move *move, struct vfm_source **source)
{
	struct guest *guest = move->guests[MOVE_SOURCE];
	struct vfm_options options;
	int r;

	side_options(move, MOVE_SOURCE, &options);
	r = vfm_source_new(&guest->region, 1, &guest_ops, guest, &options, source);
	if (r)
		return bench_fail(r, "making a source");
	for (unsigned i = 0; i < move->device_count && !r; i++)
		r = vfm_source_add_device(*source, move->devices[MOVE_SOURCE][i]);
	if (!r)
		return 0;
	vfm_source_free(*source);
	return bench_fail(r, "adding a device");
}

static int finish_source(struct move *move, struct vfm_source *source, int r)
{
	struct vfm_error error;

	if (!r)
		r = vfm_source_wait(source);
	vfm_source_get_downtime(source, &move->predicted, &move->measured);
	vfm_source_get_error(source, &error);
	if (move->options)
		move->report = vfm_source_report_json(source);
	if (r)
		complain("source", &error);
	return r;
}

int move_source(struct move *move, int fd)
{
	struct vfm_source *source;
	int r = make_source(move, &source);

	if (r) {
		close(fd);
		return r;
	}
	r = finish_source(move, source, vfm_source_start(source, fd));
	vfm_source_free(source);
	return r;
}

/* ---- destination ---- */

static int make_destination(struct move *move, struct vfm_destination **destination)
{
	struct guest *guest = move->guests[MOVE_DESTINATION];
	struct vfm_options options;
	int r;

	side_options(move, MOVE_DESTINATION, &options);
	r = vfm_destination_new(&guest->region, 1, &guest_ops, guest, &options, destination);
	if (r)
		return bench_fail(r, "making a destination");
	for (unsigned i = 0; i < move->device_count && !r; i++)
		r = vfm_destination_add_device(*destination, move->devices[MOVE_DESTINATION][i]);
	if (!r)
		r = vfm_destination_start(*destination);
	if (!r)
		return 0;
	vfm_destination_free(*destination);
	return bench_fail(r, "starting a destination");
}

static int finish_destination(struct vfm_destination *destination, int r)
{
	struct vfm_error error;

	if (!r)
		r = vfm_destination_wait(destination);
	vfm_destination_get_error(destination, &error);
	if (r)
		complain("destination", &error);
	return r;
}

int move_destination(struct move *move, int fd)
{
	struct vfm_destination *destination;
	int r = make_destination(move, &destination);

	if (r) {
		close(fd);
		return r;
	}
	r = finish_destination(destination, vfm_destination_attach(destination, fd));
	vfm_destination_free(destination);
	return r;
}

/* ---- both ---- */

static int run_both(struct move *move, struct vfm_source *source,
		    struct vfm_destination *destination)
{
	uint64_t start;
	int fds[2], r, s;

	r = pair_tcp(fds);
	if (r) {
		vfm_destination_cancel(destination);
		return bench_fail(r, "connecting over loopback");
	}
	start = clock_ns();
	r = vfm_destination_attach(destination, fds[1]);
	s = finish_source(move, source, vfm_source_start(source, fds[0]));
	if (s)
		vfm_destination_cancel(destination);
	r = finish_destination(destination, r);
	move->seconds = (double)(clock_ns() - start) / 1e9;
	return s ? s : r;
}

int move_run(struct move *move)
{
	struct vfm_destination *destination;
	struct vfm_source *source;
	int r = make_source(move, &source);

	if (r)
		return r;
	r = make_destination(move, &destination);
	if (!r) {
		r = run_both(move, source, destination);
		vfm_destination_free(destination);
	}
	vfm_source_free(source);
	return r;
}
