/* SPDX-License-Identifier: BSD-3-Clause */
/* The seeing: what VMs tell through x-vfm-verify, into the plain numbers that verify.c judges. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "field.h"
#include "interrupt.h"
#include "verify.h"

#define REPLY_MS 30000
#define POLL_MS  20
#define WATCH_MS 500 /* at least: for a guest to come upon a byte that went wrong */

PRINTF(3, 4) static int fail(struct verify *verify, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(verify->why, sizeof(verify->why), format, args);
	va_end(args);
	return code;
}

/* Entries of the list @path, at most @max. */
static unsigned list_length(struct json_object *from, const char *path, unsigned max)
{
	struct json_object *list = field_find(from, path);

	if (!json_object_is_type(list, json_type_array))
		return 0;
	return (unsigned)MIN(json_object_array_length(list), (size_t)max);
}

/* The numbers of the list @path. Returns how many. */
static unsigned read_list(struct json_object *from, const char *path, uint64_t *out, unsigned max)
{
	unsigned i, count = list_length(from, path, max);
	struct json_object *list = field_find(from, path);

	for (i = 0; i < count; i++)
		out[i] = field_u64(json_object_array_get_idx(list, i), "", 0);
	return count;
}

static void read_text(struct json_object *from, const char *path, char *out, size_t size)
{
	snprintf(out, size, "%s", field_text(from, path, ""));
}

static void read_peer(struct json_object *device, struct verify_peer *to)
{
	struct json_object *from = field_find(device, "p2p");

	*to = (struct verify_peer){
		.known = from != NULL,
		.sent = field_u64(from, "sent", 0),
		.arrived = field_u64(from, "arrived", 0),
		.seen = field_u64(from, "seen", 0),
		.late = field_u64(from, "late", UINT64_MAX),
	};
}

static void read_uart(struct json_object *device, struct verify_uart *to)
{
	struct json_object *from = field_find(device, "uart");

	*to = (struct verify_uart){
		.known = from != NULL,
		.sent = field_u64(from, "sent", 0),
		.received = field_u64(from, "received", 0),
		.lost = field_u64(from, "lost", UINT64_MAX),
		.doubled = field_u64(from, "doubled", UINT64_MAX),
	};
}

static void read_stopped(struct json_object *from, struct verify_stopped *to)
{
	struct json_object *devices = field_find(from, "devices"), *entry;
	unsigned i;

	*to = (struct verify_stopped){.taken = from != NULL};
	read_text(from, "memory", to->memory, sizeof(to->memory));
	to->cpus = read_list(from, "heartbeat", to->heartbeat, VERIFY_CPUS_MAX);
	to->devices = list_length(from, "devices", VERIFY_DEVICES_MAX);
	for (i = 0; i < to->devices; i++) {
		entry = json_object_array_get_idx(devices, i);
		read_text(entry, "name", to->device[i].name, sizeof(to->device[i].name));
		read_text(entry, "hash", to->device[i].hash, sizeof(to->device[i].hash));
		to->device[i].counter = field_u64(entry, "counter", 0);
		to->device[i].ring = field_u64(entry, "ring", 0);
		read_peer(entry, &to->device[i].peer);
	}
}

static void read_live(struct json_object *from, struct verify_live *to)
{
	struct json_object *devices = field_find(from, "devices"), *entry;
	unsigned i;

	*to = (struct verify_live){.failures = field_u64(from, "failures", 1)};
	read_text(from, "accel", to->accel, sizeof(to->accel));
	read_text(from, "failure", to->failure, sizeof(to->failure));
	to->cpus = read_list(from, "heartbeat", to->heartbeat, VERIFY_CPUS_MAX);
	if (read_list(from, "pages", to->pages, VERIFY_CPUS_MAX) != to->cpus)
		to->cpus = 0;
	to->devices = list_length(from, "devices", VERIFY_DEVICES_MAX);
	for (i = 0; i < to->devices; i++) {
		entry = json_object_array_get_idx(devices, i);
		to->records[i] = field_u64(entry, "records", 0);
		to->doorbells[i] = field_u64(entry, "doorbells", 0);
		read_peer(entry, &to->peer[i]);
		read_uart(entry, &to->uart[i]);
	}
}

static int ask(struct verify *verify, struct qmp_client *vm, const char *command,
	       struct json_object **result)
{
	int rc = qmp_client_execute(vm, command, NULL, REPLY_MS, result);

	return rc ? fail(verify, rc, "%s", qmp_client_why(vm)) : 0;
}

static int look(struct verify *verify, struct qmp_client *vm, struct verify_seen *seen)
{
	struct json_object *result, *status;
	int rc = ask(verify, vm, "query-status", &status);

	if (rc)
		return rc;
	rc = ask(verify, vm, "x-vfm-verify", &result);
	if (!rc) {
		read_stopped(field_find(result, "stopped"), &seen->stopped);
		read_live(field_find(result, "live"), &seen->live);
		seen->live.running = field_true(status, "running");
		json_object_put(result);
	}
	json_object_put(status);
	return rc;
}

/* A device that does no DMA at least counts its doorbells. */
static bool device_went_on(const struct verify *verify, unsigned i,
			   const struct verify_live *before, const struct verify_live *after)
{
	if (after->uart[i].known)
		return after->uart[i].received > before->uart[i].received;
	if (verify->p2p && after->peer[i].sent <= before->peer[i].sent)
		return false;
	if (verify->silent >> i & 1)
		return after->doorbells[i] > before->doorbells[i];
	return after->records[i] > before->records[i];
}

/* Every heart, every vCPU's work and every device is beyond what it was. */
static bool went_on(const struct verify *verify, const struct verify_live *before,
		    const struct verify_live *after)
{
	unsigned i;

	for (i = 0; i < after->cpus; i++)
		if (after->heartbeat[i] <= before->heartbeat[i] ||
		    after->pages[i] <= before->pages[i])
			return false;
	for (i = 0; i < after->devices; i++)
		if (!device_went_on(verify, i, before, after))
			return false;
	return after->cpus;
}

int verify_wait_until_busy(struct verify *verify, struct qmp_client *source, int interrupts)
{
	static const struct verify_live nothing;
	uint64_t deadline = clock_ns() + VERIFY_WAIT_MS * NS_PER_MSEC;
	struct verify_live *live = &verify->source.live;
	int rc;

	for (;;) {
		rc = look(verify, source, &verify->source);
		if (rc)
			return rc;
		if (live->failures)
			return fail(verify, -EBADMSG, "stopped: %s", live->failure);
		if (went_on(verify, &nothing, live))
			return 0;
		if (clock_ns() > deadline)
			return fail(verify, -ETIMEDOUT, "it does not get to work");
		if (interrupt_sleep(interrupts, POLL_MS))
			return fail(verify, -EINTR, "interrupted");
	}
}

/* What the guest on the destination has to go beyond: where it stood when it came. Its driver may
 * have been behind its device; bytes that were in a UART have to come out of it. */
static void mark_arrival(const struct verify *verify, struct verify_live *mark)
{
	unsigned i;

	*mark = verify->source.live;
	for (i = 0; i < verify->destination.stopped.cpus; i++)
		mark->heartbeat[i] = verify->destination.stopped.heartbeat[i];
	for (i = 0; i < verify->destination.stopped.devices; i++) {
		mark->records[i] = verify->destination.stopped.device[i].counter;
		mark->peer[i] = verify->destination.stopped.device[i].peer;
		mark->uart[i].received = mark->uart[i].sent;
	}
}

/* Give the guest on the destination the time to show that it goes on. One that is stopped will not
 * show anything, and neither will one that found an error. */
static int watch(struct verify *verify, struct qmp_client *destination)
{
	uint64_t start = clock_ns(), deadline = start + VERIFY_WAIT_MS * NS_PER_MSEC;
	struct verify_seen *seen = &verify->destination;
	struct timespec pause = {.tv_nsec = POLL_MS * NS_PER_MSEC};
	struct verify_live mark;
	int rc;

	do {
		rc = look(verify, destination, seen);
		if (rc)
			return rc;
		mark_arrival(verify, &mark);
		if (!seen->live.running || seen->live.failures)
			return 0;
		if (went_on(verify, &mark, &seen->live) &&
		    clock_ns() - start > WATCH_MS * NS_PER_MSEC)
			return 0;
		nanosleep(&pause, NULL);
	} while (clock_ns() < deadline);
	return 0;
}

void verify_look(struct verify *verify, bool completed, struct qmp_client *source,
		 struct qmp_client *destination)
{
	unsigned i;
	int rc;

	if (!completed)
		return;
	rc = look(verify, source, &verify->source);
	if (!rc)
		rc = watch(verify, destination);
	/* Once more, so that a source that runs on has had the time to show it. */
	if (!rc)
		rc = look(verify, source, &verify->source);
	if (!rc) {
		verify_judge(verify);
		return;
	}
	for (i = 0; i < VERIFY_CHECKS; i++) {
		verify->result[i].known = verify_asks(verify, i);
		snprintf(verify->result[i].text, VERIFY_WHY_MAX, "%s", verify->why);
	}
}
