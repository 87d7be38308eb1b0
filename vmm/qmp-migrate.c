/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about migration. Where QEMU has the command, members that it also has mean the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "vmm/parameters.h"
#include "vmm/qmp.h"

#define PAGE VFM_PAGE_SIZE

static const char *arg_text(struct qmp_call *call, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(call->args, name, &value)
		       ? json_object_get_string(value)
		       : NULL;
}

static int run_migrate(struct qmp_call *call)
{
	char why[VMM_WHY_MAX] = "";

	if (migration_start(call->app->migration, arg_text(call, "uri"), why) < 0)
		return qmp_fail(call, NULL, "%s", why);
	return 0;
}

static int run_migrate_incoming(struct qmp_call *call)
{
	char why[VMM_WHY_MAX] = "";

	if (migration_listen(call->app->migration, arg_text(call, "uri"), why) < 0)
		return qmp_fail(call, NULL, "%s", why);
	return 0;
}

static int run_cancel(struct qmp_call *call)
{
	int ret = migration_cancel(call->app->migration);

	if (ret == -EALREADY)
		return qmp_fail(call, NULL,
				"The VM was given away already, or nothing is left to cancel");
	return ret < 0 ? qmp_fail(call, NULL, "Cancelling: %s", strerror(-ret)) : 0;
}

static int run_resolve(struct qmp_call *call)
{
	struct json_object *runs;
	int ret;

	json_object_object_get_ex(call->args, "destination-runs", &runs);
	ret = migration_resolve(call->app->migration, json_object_get_boolean(runs));
	if (ret == -EINVAL)
		return qmp_fail(call, NULL, "No migration of this VM is in doubt");
	if (ret < 0)
		return qmp_fail(call, NULL, "Resolving: %s", strerror(-ret));
	app_set_running(call->app, !vmm_holds(call->app->vm));
	return 0;
}

/* ---- state ---- */

/* QEMU's words. "device" is its state between stop and completion. */
static const char *status_word(const struct vfm_progress *p)
{
	switch (p->status) {
	case VFM_STATUS_COMPLETED:
		return "completed";
	case VFM_STATUS_FAILED:
		return "failed";
	case VFM_STATUS_CANCELLED:
		return "cancelled";
	case VFM_STATUS_IN_DOUBT:
		return "in-doubt"; /* QEMU has no such state */
	case VFM_STATUS_NONE:
		return "none";
	case VFM_STATUS_ACTIVE:
		break;
	}
	if (p->stage < VFM_STAGE_PRECOPY)
		return "setup";
	return p->stage < VFM_STAGE_STOP ? "active" : "device";
}

const char *migration_status_word(struct migration *m)
{
	struct vfm_progress p;

	migration_progress(m, &p);
	if (p.status == VFM_STATUS_ACTIVE && p.stage == VFM_STAGE_DONE)
		return NULL; /* the mail that tells how it ended is on its way */
	return status_word(&p);
}

static struct json_object *ram(const struct vfm_progress *p)
{
	struct json_object *o = json_object_new_object();

	qmp_put_u64(o, "total", p->memory_total);
	qmp_put_u64(o, "remaining", p->memory_left);
	qmp_put_u64(o, "transferred", p->memory_sent);
	qmp_put_u64(o, "page-size", PAGE);
	qmp_put_u64(o, "dirty-sync-count", p->round);
	qmp_put_u64(o, "dirty-pages-rate", p->dirty_rate / PAGE);
	json_object_object_add(o, "mbps", json_object_new_double((double)p->bandwidth * 8 / 1e6));
	return o;
}

static void put_ms(struct json_object *to, const char *key, uint64_t ns)
{
	if (ns != VFM_SIZE_UNKNOWN)
		qmp_put_u64(to, key, ns / NS_PER_MSEC);
}

/* "downtime" of a finished migration comes from its report, which has it exactly. */
static void put_downtime(struct json_object *to, struct migration *m)
{
	char *text = migration_report(m);
	struct json_object *report = text ? json_tokener_parse(text) : NULL, *ms;

	if (report && json_object_object_get_ex(report, "downtime_ms", &ms) && ms)
		qmp_put_u64(to, "downtime", (uint64_t)(json_object_get_double(ms) + 0.5));
	json_object_put(report);
	free(text);
}

static int run_query(struct qmp_call *call)
{
	struct migration *m = call->app->migration;
	struct json_object *o = json_object_new_object(), *vfio;
	struct vfm_progress p;
	char text[1024];

	call->result = o;
	migration_progress(m, &p);
	if (p.status == VFM_STATUS_NONE)
		return 0; /* as QEMU does before the first migration */
	qmp_put_text(o, "status", status_word(&p));
	put_ms(o, "total-time", p.elapsed_ns);
	if (p.status == VFM_STATUS_ACTIVE)
		put_ms(o, "expected-downtime", p.predicted_downtime_ns);
	if (p.status == VFM_STATUS_COMPLETED)
		put_downtime(o, m);
	json_object_object_add(o, "ram", ram(&p));
	vfio = json_object_new_object();
	qmp_put_u64(vfio, "transferred", p.device_sent);
	json_object_object_add(o, "vfio", vfio);
	migration_error(m, text, sizeof(text));
	if (text[0])
		qmp_put_text(o, "error-desc", text);
	return 0;
}

static const char *owner_word(enum vfm_owner owner)
{
	static const char *const words[] = {
		[VFM_OWNER_SOURCE] = "source",
		[VFM_OWNER_DESTINATION] = "destination",
		[VFM_OWNER_UNKNOWN] = "unknown",
	};

	return words[owner];
}

/* struct vfm_progress as it is: bytes, ns, bytes per second; what is not known is null. */
static int run_progress(struct qmp_call *call)
{
	struct json_object *o = json_object_new_object();
	struct vfm_progress p;

	migration_progress(call->app->migration, &p);
	call->result = o;
	qmp_put_text(o, "status", vfm_status_name(p.status));
	qmp_put_text(o, "stage", vfm_stage_name(p.stage));
	qmp_put_text(o, "owner", owner_word(p.owner));
	qmp_put_u64(o, "elapsed-ns", p.elapsed_ns);
	qmp_put_u64(o, "round", p.round);
	qmp_put_u64(o, "memory-total", p.memory_total);
	qmp_put_u64(o, "memory-left", p.memory_left);
	qmp_put_u64(o, "memory-sent", p.memory_sent);
	qmp_put_u64(o, "device-left", p.device_left);
	qmp_put_u64(o, "device-sent", p.device_sent);
	qmp_put_u64(o, "device-unknown", p.device_unknown);
	qmp_put_u64(o, "bandwidth", p.bandwidth);
	qmp_put_u64(o, "dirty-rate", p.dirty_rate);
	if (p.predicted_downtime_ns == VFM_SIZE_UNKNOWN)
		json_object_object_add(o, "predicted-downtime-ns", NULL);
	else
		qmp_put_u64(o, "predicted-downtime-ns", p.predicted_downtime_ns);
	qmp_put_u64(o, "pending-acks", p.pending_acks);
	qmp_put_u64(o, "switchover-attempts", p.switchover_attempts);
	qmp_put_text(o, "waiting-for", p.waiting_for);
	return 0;
}

static int run_report(struct qmp_call *call)
{
	char *text = migration_report(call->app->migration);

	if (!text)
		return qmp_fail(call, NULL, "There was no migration");
	call->result = json_tokener_parse(text);
	free(text);
	return call->result ? 0 : qmp_fail(call, NULL, "The report could not be made");
}

/* Where an incoming migration is waited for, as an address to migrate to. */
static int run_incoming(struct qmp_call *call)
{
	const char *address = migration_address(call->app->migration);

	if (!*address)
		return qmp_fail(call, NULL, "This VM does not wait for a migration");
	call->result = json_object_new_object();
	qmp_put_text(call->result, "address", address);
	qmp_put_bool(call->result, "listening", migration_listener(call->app->migration) >= 0);
	return 0;
}

/* ---- parameters ---- */

static int run_set_parameters(struct qmp_call *call)
{
	char why[PARAMETERS_WHY_MAX] = "";

	if (parameters_from_json(migration_options(call->app->migration), call->args, why) < 0)
		return qmp_fail(call, NULL, "%s", why);
	migration_apply_limits(call->app->migration);
	return 0;
}

static int run_query_parameters(struct qmp_call *call)
{
	call->result = json_object_new_object();
	parameters_to_json(migration_options(call->app->migration), call->result);
	return 0;
}

/* Checked by its row in parameters.c. */
#define ANY(name) {name, json_type_null, false}

static const struct qmp_command commands[] = {
	{"migrate", run_migrate, {{"uri", json_type_string, true}}},
	{"migrate-incoming", run_migrate_incoming, {{"uri", json_type_string, true}}},
	{"migrate_cancel", run_cancel, {{NULL, json_type_null, false}}},
	{"query-migrate", run_query, {{NULL, json_type_null, false}}},
	{"migrate-set-parameters",
	 run_set_parameters,
	 {ANY("downtime-limit"), ANY("max-bandwidth"), ANY("x-vfm-max-rounds"),
	  ANY("x-vfm-timeout"), ANY("x-vfm-peer-timeout"),
	  ANY("x-vfm-standstill-timeout"), ANY("x-vfm-doubt-timeout"),
	  ANY("x-vfm-unknown-stop-copy-size"), ANY("x-vfm-device-chunk"),
	  ANY("x-vfm-switchover-ack"), ANY("x-vfm-profile"), ANY("x-vfm-max-switchover-attempts"),
	  ANY("x-vfm-transition-estimate"), ANY("x-vfm-parallel-transitions")}},
	{"query-migrate-parameters", run_query_parameters, {{NULL, json_type_null, false}}},
	{"x-vfm-progress", run_progress, {{NULL, json_type_null, false}}},
	{"x-vfm-report", run_report, {{NULL, json_type_null, false}}},
	{"x-vfm-incoming", run_incoming, {{NULL, json_type_null, false}}},
	{"x-vfm-resolve", run_resolve, {{"destination-runs", json_type_boolean, true}}},
};

const struct qmp_table qmp_table_migrate = {commands, ARRAY_SIZE(commands)};
