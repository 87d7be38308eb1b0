/* SPDX-License-Identifier: BSD-3-Clause */
#include "follow.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/text.h"
#include "exit.h"
#include "field.h"
#include "interrupt.h"

#define REDRAW_MS 100

/* The enum value whose name is @text, @count: none. */
static unsigned by_name(const char *(*name)(unsigned), unsigned count, const char *text)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (!strcmp(name(i), text))
			break;
	return i;
}

static const char *stage_name(unsigned i)
{
	return vfm_stage_name((enum vfm_stage)i);
}

static const char *status_name(unsigned i)
{
	return vfm_status_name((enum vfm_status)i);
}

static int read_numbers(struct json_object *from, struct vfm_progress *to)
{
	unsigned stage = by_name(stage_name, VFM_STAGE_COUNT, field_text(from, "stage", ""));
	unsigned status = by_name(status_name, VFM_STATUS_IN_DOUBT + 1,
				  field_text(from, "status", ""));

	if (stage == VFM_STAGE_COUNT || status > VFM_STATUS_IN_DOUBT)
		return -EPROTO;
	*to = (struct vfm_progress){
		.size = sizeof(*to),
		.status = (enum vfm_status)status,
		.stage = (enum vfm_stage)stage,
		.elapsed_ns = field_u64(from, "elapsed-ns", 0),
		.round = field_u64(from, "round", 0),
		.memory_total = field_u64(from, "memory-total", 0),
		.memory_left = field_u64(from, "memory-left", 0),
		.memory_sent = field_u64(from, "memory-sent", 0),
		.device_left = field_u64(from, "device-left", 0),
		.device_sent = field_u64(from, "device-sent", 0),
		.device_unknown = (unsigned)field_u64(from, "device-unknown", 0),
		.bandwidth = field_u64(from, "bandwidth", 0),
		.dirty_rate = field_u64(from, "dirty-rate", 0),
		.predicted_downtime_ns = field_u64(from, "predicted-downtime-ns", VFM_SIZE_UNKNOWN),
		.pending_acks = (unsigned)field_u64(from, "pending-acks", 0),
		.switchover_attempts = (unsigned)field_u64(from, "switchover-attempts", 0),
	};
	snprintf(to->waiting_for, sizeof(to->waiting_for), "%s",
		 field_text(from, "waiting-for", ""));
	text_make_printable(to->waiting_for);
	return 0;
}

int follow_get_progress(struct follow *follow, struct vfm_progress *numbers)
{
	struct json_object *result;
	int rc = qmp_client_execute(follow->vm, "x-vfm-progress", NULL, FOLLOW_REPLY_MS, &result);

	if (rc)
		return rc;
	rc = read_numbers(result, numbers);
	json_object_put(result);
	return rc ? qmp_client_no_sense(follow->vm, "x-vfm-progress") : 0;
}

int follow_get_report(struct follow *follow, struct json_object **report)
{
	return qmp_client_execute(follow->vm, "x-vfm-report", NULL, FOLLOW_REPLY_MS, report);
}

/* QMP has no word for "no limit": the largest number of its type stands for it. */
static struct json_object *limit(uint64_t value)
{
	return json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

int follow_set_limits(struct follow *follow, const struct follow_limits *limits)
{
	struct json_object *arguments = json_object_new_object();

	if (limits->downtime_ms)
		json_object_object_add(arguments, "downtime-limit", limit(limits->downtime_ms));
	if (limits->bandwidth)
		json_object_object_add(arguments, "max-bandwidth", limit(limits->bandwidth));
	return qmp_client_execute(follow->vm, "migrate-set-parameters", arguments, FOLLOW_REPLY_MS,
				  NULL);
}

int follow_get_limit(struct follow *follow, double *ms)
{
	struct json_object *result;
	int rc = qmp_client_execute(follow->vm, "query-migrate-parameters", NULL, FOLLOW_REPLY_MS,
				    &result);

	if (rc)
		return rc;
	*ms = field_number(result, "downtime-limit", -1);
	json_object_put(result);
	return 0;
}

int follow_start(struct follow *follow, const char *uri)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "uri", json_object_new_string(uri));
	return qmp_client_execute(follow->vm, "migrate", arguments, FOLLOW_REPLY_MS, NULL);
}

/* Events are news only in that something happened: the numbers are asked for. */
static int drop_events(struct follow *follow)
{
	struct json_object *event;
	int rc;

	while (!(rc = qmp_client_event(follow->vm, 0, &event)))
		json_object_put(event);
	return rc == -ETIMEDOUT ? 0 : rc;
}

static void cancel(struct follow *follow, const char *why)
{
	progress_end(&follow->progress);
	if (follow->progress.out)
		fputs(why, follow->progress.out);
	/* An error says that it is too late to cancel, which its end will tell. */
	qmp_client_execute(follow->vm, "migrate_cancel", NULL, FOLLOW_REPLY_MS, NULL);
}

static int take_interrupts(struct follow *follow)
{
	while (interrupt_take(follow->interrupts)) {
		if (follow->interrupted++)
			return -EINTR;
		cancel(follow, "cancelling; once more to leave\n");
	}
	return 0;
}

static int look_at_clock(struct follow *follow)
{
	if (!follow->deadline_ns || clock_ns() < follow->deadline_ns)
		return 0;
	if (follow->late)
		return -ETIME;
	follow->late = true;
	follow->deadline_ns = clock_after(FOLLOW_CANCEL_MS * NS_PER_MSEC);
	cancel(follow, "out of time: cancelling\n");
	return 0;
}

static int wait_for_news(struct follow *follow)
{
	struct pollfd polls[] = {
		{.fd = qmp_client_fd(follow->vm), .events = POLLIN},
		{.fd = follow->interrupts, .events = POLLIN},
	};
	int rc = drop_events(follow);

	if (!rc && poll(polls, ARRAY_SIZE(polls), REDRAW_MS) < 0 && errno != EINTR)
		rc = -errno;
	if (!rc)
		rc = take_interrupts(follow);
	return rc ? rc : look_at_clock(follow);
}

static bool ended(enum vfm_status status)
{
	return status != VFM_STATUS_NONE && status != VFM_STATUS_ACTIVE;
}

int follow_to_end(struct follow *follow)
{
	struct vfm_progress numbers;
	int rc;

	do {
		rc = follow_get_progress(follow, &numbers);
		if (rc)
			break;
		progress_show(&follow->progress, &numbers);
		if (ended(numbers.status))
			break;
		rc = wait_for_news(follow);
	} while (!rc);
	progress_end(&follow->progress);
	return rc;
}

int follow_exit_status(struct json_object *report)
{
	static const struct {
		const char *status;
		int code;
	} codes[] = {
		{"completed", CLI_EXIT_OK},
		{"cancelled", CLI_EXIT_CANCELLED},
		{"in-doubt", CLI_EXIT_IN_DOUBT},
	};
	const char *status = field_text(report, "status", "");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(codes); i++)
		if (!strcmp(status, codes[i].status))
			return codes[i].code;
	return CLI_EXIT_FAILED;
}
