/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration: device features, and the stream.
 *
 * A feature is a row: which operations it has, how large its payloads are, and what has to be
 * there for it to exist. The rules for argsz and flags are the kernel's: argsz covers head and
 * payload, unknown flag bits are wrong, GET and SET exclude each other unless one only probes.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "sim/personality.h"
#include "sim/serve.h"

struct feature {
	uint32_t index;
	uint32_t ops;       /* VFM_FEATURE_GET, _SET */
	uint32_t in;        /* bytes of payload in the request */
	uint32_t out;       /* of the reply, at least */
	uint32_t extension; /* that must be in use, 0: none */
	bool logging;       /* needs a device that logs, else one that migrates */
	int (*handle)(struct server *s, const void *in, bool set);
};

static int feature_migration(struct server *s, const void *in, bool set)
{
	struct vfm_vfio_user_migration *out = serve_reply(s, sizeof(*out));

	out->flags = sim_told_flags(s->sim);
	return 0;
}

static int feature_state(struct server *s, const void *in, bool set)
{
	struct vfm_vfio_user_mig_state state, *out;
	int ret;

	memcpy(&state, in, sizeof(state));
	if (set) {
		ret = sim_set_state(s->sim, state.device_state);
		if (ret)
			return ret;
	}
	out = serve_reply(s, sizeof(*out));
	out->device_state = sim_state(s->sim);
	out->data_fd = UINT32_MAX; /* -1: there is none */
	return 0;
}

static int feature_log_start(struct server *s, const void *in, bool set)
{
	/* The wire's ranges are the kernel's, and the payload is aligned. */
	const struct vfm_feature_logging_range *ranges;
	struct vfm_vfio_user_logging_control control;
	size_t size = s->size - sizeof(struct vfm_vfio_user_feature), bytes;
	uint64_t page_size;
	int ret;

	memcpy(&control, in, sizeof(control));
	if (control.num_ranges > SIM_LOG_RANGES_MAX)
		return -E2BIG;
	bytes = control.num_ranges * sizeof(*ranges);
	if (control.reserved || size != sizeof(control) + bytes)
		return -EINVAL;
	ranges = (const void *)((const uint8_t *)in + sizeof(control));
	page_size = control.page_size;
	ret = sim_log_start(s->sim, &page_size, ranges, control.num_ranges);
	if (ret)
		return ret;
	control.page_size = page_size;
	memcpy(serve_reply(s, sizeof(control)), &control, sizeof(control));
	serve_reply_bytes(s, ranges, bytes);
	return 0;
}

static int feature_log_stop(struct server *s, const void *in, bool set)
{
	return sim_log_stop(s->sim);
}

static int feature_log_report(struct server *s, const void *in, bool set)
{
	struct vfm_vfio_user_logging_report report;
	struct vfm_vfio_user_feature head;
	uint64_t bytes;
	int ret;

	memcpy(&head, s->payload, sizeof(head));
	memcpy(&report, in, sizeof(report));
	if (!is_power_of_two(report.page_size) || !report.length)
		return -EINVAL;
	bytes = div_round_up(div_round_up(report.length, report.page_size), 64) * sizeof(uint64_t);
	if (bytes > s->client_transfer)
		return -E2BIG;
	if (head.argsz < sizeof(head) + sizeof(report) + bytes)
		return -EINVAL;
	memset(s->bitmap, 0, bytes);
	ret = sim_log_report(s->sim, report.iova, report.length, report.page_size, s->bitmap);
	memcpy(serve_reply(s, sizeof(report)), &report, sizeof(report));
	serve_reply_bytes(s, s->bitmap, bytes);
	return ret;
}

static int feature_data_size(struct server *s, const void *in, bool set)
{
	struct vfm_vfio_user_data_size *out = serve_reply(s, sizeof(*out));

	uint64_t size = 0;
	int ret = sim_data_size(s->sim, &size);

	out->stop_copy_length = size;
	return ret;
}

static int feature_infov2(struct server *s, const void *in, bool set)
{
	return sim_precopy_infov2(s->sim);
}

static int feature_precopy_info(struct server *s, const void *in, bool set)
{
	struct vfm_vfio_user_precopy_info *out = serve_reply(s, sizeof(*out));
	struct vfm_precopy_info info = {0};
	int ret = sim_precopy_info(s->sim, &info);

	if (ret)
		return ret;
	out->flags = info.flags;
	out->initial_bytes = info.initial_bytes;
	out->dirty_bytes = info.dirty_bytes;
	return 0;
}

static_assert(sizeof(struct vfm_vfio_user_logging_range) ==
		      sizeof(struct vfm_feature_logging_range),
	      "ranges are taken as they come");

#define IN(type)  sizeof(struct vfm_vfio_user_##type)
#define GET       VFM_FEATURE_GET
#define SET       VFM_FEATURE_SET

static const struct feature features[] = {
	{VFM_FEATURE_MIGRATION, GET, 0, IN(migration), 0, false, feature_migration},
	{VFM_FEATURE_MIG_DEVICE_STATE, GET | SET, IN(mig_state), IN(mig_state), 0, false,
	 feature_state},
	{VFM_FEATURE_DMA_LOGGING_START, SET, IN(logging_control), IN(logging_control), 0, true,
	 feature_log_start},
	{VFM_FEATURE_DMA_LOGGING_STOP, SET, 0, 0, 0, true, feature_log_stop},
	{VFM_FEATURE_DMA_LOGGING_REPORT, GET, IN(logging_report), IN(logging_report), 0, true,
	 feature_log_report},
	{VFM_FEATURE_MIG_DATA_SIZE, GET, 0, IN(data_size), VFM_VFIO_USER_EXT_DATA_SIZE, false,
	 feature_data_size},
	{VFM_FEATURE_MIG_PRECOPY_INFOV2, SET, 0, 0, VFM_VFIO_USER_EXT_REINIT, false,
	 feature_infov2},
	{VFM_VFIO_USER_FEATURE_PRECOPY_INFO, GET, 0, IN(precopy_info),
	 VFM_VFIO_USER_EXT_PRECOPY_INFO, false, feature_precopy_info},
};

static const struct feature *find_feature(uint32_t flags)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].index == (flags & VFM_FEATURE_MASK))
			return &features[i];
	return NULL;
}

static bool feature_exists(const struct server *s, const struct feature *feature)
{
	if ((s->extension & feature->extension) != feature->extension)
		return false;
	return feature->logging ? sim_has_logging(s->sim) : sim_mig_flags(s->sim) != 0;
}

/* Which operation is wanted, and whether the flags make sense. */
static int check_ops(const struct feature *feature, uint32_t flags)
{
	uint32_t known = VFM_FEATURE_MASK | GET | SET | VFM_FEATURE_PROBE;
	uint32_t ops = flags & (GET | SET);

	if (flags & ~known || !(flags & (GET | SET | VFM_FEATURE_PROBE)) || ops & ~feature->ops)
		return -EINVAL;
	return ops == (GET | SET) && !(flags & VFM_FEATURE_PROBE) ? -EINVAL : 0;
}

static int validate(const struct server *s, const struct vfm_vfio_user_feature *asked)
{
	struct vfm_vfio_user_feature head = *asked;
	const struct feature *feature = find_feature(head.flags);
	uint32_t in;
	int ret;

	if (!feature || !feature_exists(s, feature))
		return -ENOTTY;
	ret = check_ops(feature, head.flags);
	if (ret || head.flags & VFM_FEATURE_PROBE)
		return ret;
	in = (uint32_t)sizeof(head) + feature->in;
	/* Of what can be read and set, the payload comes only with SET; LOGGING_START has a tail. */
	if (feature->ops == (GET | SET) && head.flags & GET)
		in = sizeof(head);
	if (s->size < in || (s->size > in && feature->index != VFM_FEATURE_DMA_LOGGING_START &&
			     !(head.flags & GET)))
		return -EINVAL;
	return head.argsz < MAX(in, (uint32_t)sizeof(head) + feature->out) ? -EINVAL : 0;
}

int serve_feature_validate(struct server *s)
{
	struct vfm_vfio_user_feature head;

	memcpy(&head, s->payload, sizeof(head));
	return sim_judge_feature(s->sim, head.flags, head.argsz, validate(s, &head));
}

/* The head of the reply tells how long it became. What is not known only a mutant lets in. */
int serve_feature(struct server *s)
{
	struct vfm_vfio_user_feature head, *out = serve_reply(s, sizeof(*out));
	const struct feature *feature;
	int ret = 0, i;

	memcpy(&head, s->payload, sizeof(head));
	feature = find_feature(head.flags);
	if (feature && !(head.flags & VFM_FEATURE_PROBE))
		ret = feature->handle(s, s->payload + sizeof(head), head.flags & SET);
	out->flags = head.flags;
	for (i = 1; i < s->iov_count; i++)
		out->argsz += (uint32_t)s->iov[i].iov_len;
	return ret;
}

/* ---- the stream ---- */

int serve_mig_read_validate(struct server *s)
{
	struct vfm_vfio_user_mig_data in;

	memcpy(&in, s->payload, sizeof(in));
	return in.argsz < sizeof(in) || !in.size || in.size > s->client_transfer ||
			       in.argsz - sizeof(in) < in.size
		       ? -EINVAL
		       : 0;
}

/* Memory goes from where it lies to the socket. It stays as it is until the reply is sent. */
int serve_mig_read(struct server *s)
{
	struct vfm_vfio_user_mig_data in, *out = serve_reply(s, sizeof(*out));
	int64_t got;
	int count;

	memcpy(&in, s->payload, sizeof(in));
	got = sim_mig_read(s->sim, in.size, s->iov + s->iov_count, &count);
	s->iov_count += count;
	if (got < 0 && (got != -ENOMSG || sim_who(s->sim)->empty_is_error))
		return (int)got;
	out->size = got > 0 ? (uint32_t)got : 0;
	out->argsz = (uint32_t)sizeof(*out) + out->size;
	return 0;
}

int serve_mig_write_validate(struct server *s)
{
	struct vfm_vfio_user_mig_data in;

	memcpy(&in, s->payload, sizeof(in));
	if (in.argsz < sizeof(in) || !in.size || in.size > s->opts->max_transfer ||
	    in.argsz - sizeof(in) != in.size)
		return -EINVAL;
	return s->msg.left == in.size ? 0 : -EINVAL;
}

/* The data goes from the socket to where it belongs. */
int serve_mig_write(struct server *s)
{
	int ret = sim_mig_begin_write(s->sim);
	void *where;
	size_t room;

	while (!ret && s->msg.left) {
		ret = sim_mig_space(s->sim, &where, &room);
		if (ret)
			break;
		room = MIN(room, s->msg.left);
		ret = conn_read(&s->conn, &s->msg, where, room);
		if (!ret)
			ret = sim_mig_wrote(s->sim, room);
	}
	return ret;
}
