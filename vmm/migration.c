/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM's migrations: one at a time, outgoing or incoming. Connecting can take seconds, so a
 * thread does it; the session's threads do the rest. Both report by mail, and everything else
 * happens on the main loop.
 *
 *	outgoing    idle -> connecting -> session -> ended (report kept until the next one)
 *	incoming    listening -> session -> ended
 *
 * A VM that was given away can be waited for again, and so can one whose --incoming was "defer".
 *
 * Who holds the vCPUs: the session through vmm_ops; when it ended as completed this file adds
 * VMM_HOLD_GIVEN, so that nothing starts them again. A source in doubt keeps the session's hold.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vfio-migrate/connect.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "vmm/app.h"

#define URI_MAX         512
#define CONNECT_MS      10000
#define RECONNECT_MS    3000
#define APPEAR_NS       (5 * NS_PER_SEC) /* for a destination that was started together with us */
#define RETRY_NS        (50 * NS_PER_MSEC)

struct migration {
	struct app *app;
	struct vfm_options options;
	struct vfm_source *source;
	struct vfm_destination *destination;
	enum vfm_status status; /* of the migration as a whole */

	char uri[URI_MAX];      /* where to; constant while a session or connector runs */
	struct thread connector;
	bool connecting;
	bool cancelled;         /* while connecting */
	struct vfm_error error; /* of failures outside the session */

	int listener;
	char address[URI_MAX];
};

/* ---- callbacks, on other threads ---- */

/* Rounds are only a hint to ask again, so that one lost for want of memory does no harm; so is
 * every other but the end, which must not be lost: it is retried. */
static struct mail *new_mail(enum mail_kind kind)
{
	struct mail *mail;

	while (!(mail = calloc(1, sizeof(*mail))))
		usleep(10000);
	mail->kind = kind;
	return mail;
}

/* For tests of what the other side makes of it: no word is said, nothing is undone. */
static void die_if_asked(const struct migration *m, const struct vfm_event *event)
{
	if (event->type == VFM_EVENT_STAGE && event->stage == m->app->options.die_at)
		kill(getpid(), SIGKILL);
}

static void on_event(void *opaque, const struct vfm_event *event)
{
	struct migration *m = opaque;
	struct mail *mail = new_mail(MAIL_EVENT);

	die_if_asked(m, event);
	mail->type = event->type;
	mail->stage = event->stage;
	mail->status = event->status;
	mail->state = event->state;
	if (event->device)
		snprintf(mail->device, sizeof(mail->device), "%s", event->device);
	mailbox_post(&m->app->mailbox, mail);
}

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	struct migration *m = opaque;

	app_log(m->app, level, line);
}

static int on_reconnect(void *opaque)
{
	struct migration *m = opaque;

	return vfm_connect(m->uri, RECONNECT_MS, NULL, 0);
}

/* Ends with its one mail. */
static void connector(void *opaque)
{
	struct migration *m = opaque;
	struct mail *mail = new_mail(MAIL_CONNECTED);
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	uint64_t deadline = clock_after(APPEAR_NS);

	for (;;) {
		mail->fd = vfm_connect(m->uri, CONNECT_MS, mail->why, sizeof(mail->why));
		if ((mail->fd != -ECONNREFUSED && mail->fd != -ENOENT) || clock_ns() > deadline)
			break;
		nanosleep(&pause, NULL);
	}
	mailbox_post(&m->app->mailbox, mail);
}

/* ---- making and freeing ---- */

int migration_new(struct app *app, struct migration **out)
{
	struct migration *m = calloc(1, sizeof(*m));

	*out = m;
	if (!m)
		return -ENOMEM;
	m->app = app;
	m->listener = -1;
	m->options = app->options.migration;
	if (!m->options.size)
		vfm_options_init(&m->options);
	m->options.opaque = m;
	m->options.event = on_event;
	m->options.log = on_log;
	m->options.reconnect = on_reconnect;
	return 0;
}

static void stop_listening(struct migration *m)
{
	if (m->listener >= 0)
		close(m->listener);
	m->listener = -1;
	if (strncmp(m->address, "unix:", 5) == 0)
		unlink(m->address + 5);
}

static void forget_session(struct migration *m)
{
	vfm_source_free(m->source);
	m->source = NULL;
	vfm_destination_free(m->destination);
	m->destination = NULL;
}

void migration_free(struct migration *m)
{
	if (!m)
		return;
	thread_join(&m->connector);
	if (m->listener >= 0)
		stop_listening(m);
	forget_session(m);
	free(m);
}

/* ---- incoming ---- */

static int add_to_destination(struct migration *m)
{
	unsigned i;
	int ret = 0;

	for (i = 0; !ret && i < m->app->vm->devices; i++)
		ret = vfm_destination_add_device(m->destination, m->app->vm->device[i].device);
	return ret;
}

static int make_destination(struct migration *m)
{
	struct vmm *vm = m->app->vm;
	struct vfm_vm_ops ops = vm->config.verify ? vmm_ops_verify : vmm_ops;
	int ret = 0;

	if (m->app->options.spoil)
		ret = spoil_ops(vm, m->app->options.spoil, &ops);
	if (!ret)
		ret = vfm_destination_new(vm->memory.region, vm->memory.count, &ops, vm,
					  &m->options, &m->destination);
	if (!ret)
		ret = add_to_destination(m);
	return ret ? ret : vfm_destination_start(m->destination);
}

static int listen_at(struct migration *m, const char *address, char *why)
{
	int ret;

	m->listener = vfm_listen(address, why, VMM_WHY_MAX);
	if (m->listener < 0)
		return m->listener;
	ret = vfm_listen_address(m->listener, m->address, sizeof(m->address));
	if (ret < 0)
		snprintf(m->address, sizeof(m->address), "%s", address);
	ret = make_destination(m);
	if (ret < 0)
		snprintf(why, VMM_WHY_MAX, "incoming migration: %s", strerror(-ret));
	else
		m->status = VFM_STATUS_ACTIVE;
	return ret;
}

/* What is in memory is of a VM that left: pages that are zero must be written, too. */
static void expect_again(struct vmm *vm)
{
	unsigned i;

	for (i = 0; i < vm->memory.count; i++)
		vm->memory.region[i].flags &= ~(uint32_t)VFM_REGION_ZEROED;
	vmm_hold(vm, VMM_HOLD_INCOMING);
	vmm_release(vm, VMM_HOLD_GIVEN);
}

static bool may_come_in(struct migration *m)
{
	unsigned holds = vmm_holds(m->app->vm);

	return !migration_active(m) && !(holds & VMM_HOLD_BROKEN) &&
	       holds & (VMM_HOLD_GIVEN | VMM_HOLD_INCOMING);
}

int migration_listen(struct migration *m, const char *address, char *why)
{
	bool again = vmm_holds(m->app->vm) & VMM_HOLD_GIVEN;
	int ret;

	if (!may_come_in(m)) {
		snprintf(why, VMM_WHY_MAX, "the VM is here, or comes in already");
		return -EBUSY;
	}
	forget_session(m);
	memset(&m->error, 0, sizeof(m->error));
	if (again)
		expect_again(m->app->vm);
	ret = listen_at(m, address, why);
	if (ret < 0 && m->listener >= 0)
		stop_listening(m);
	if (ret < 0 && again) {
		vmm_hold(m->app->vm, VMM_HOLD_GIVEN);
		vmm_release(m->app->vm, VMM_HOLD_INCOMING);
	}
	return ret;
}

int migration_listener(const struct migration *m)
{
	return m->listener;
}

const char *migration_address(const struct migration *m)
{
	return m->address;
}

/* The session sorts out who is a peer. */
void migration_accept(struct migration *m)
{
	int fd = vfm_accept(m->listener);

	if (fd >= 0)
		vfm_destination_attach(m->destination, fd);
}

static void incoming_ended(struct migration *m)
{
	char text[1024];

	stop_listening(m);
	if (m->status == VFM_STATUS_COMPLETED)
		return;
	migration_error(m, text, sizeof(text));
	app_log(m->app, VFM_LOG_ERROR, text[0] ? text : "cancelled");
	app_log(m->app, VFM_LOG_ERROR, "the incoming migration failed; the guest never ran here");
	m->app->status = 1;
	m->app->quit = true;
}

/* ---- outgoing ---- */

static int refusal(struct migration *m, char *why)
{
	unsigned holds = vmm_holds(m->app->vm);

	if (migration_active(m))
		snprintf(why, VMM_WHY_MAX, "there's a migration process in progress");
	else if (holds & VMM_HOLD_INCOMING)
		snprintf(why, VMM_WHY_MAX, "the VM waits for an incoming migration");
	else if (holds & VMM_HOLD_GIVEN)
		snprintf(why, VMM_WHY_MAX, "the VM was given to a destination already");
	else if (holds & VMM_HOLD_MIGRATION)
		snprintf(why, VMM_WHY_MAX, "the last migration is in doubt: resolve it first");
	else if (holds & VMM_HOLD_BROKEN)
		snprintf(why, VMM_WHY_MAX, "a vCPU of the VM cannot go on");
	else
		return 0;
	return -EBUSY;
}

static int make_source(struct migration *m)
{
	struct vmm *vm = m->app->vm;
	const struct vfm_vm_ops *ops = vm->config.verify ? &vmm_ops_verify : &vmm_ops;
	unsigned i;
	int ret;

	ret = vfm_source_new(vm->memory.region, vm->memory.count, ops, vm, &m->options, &m->source);
	for (i = 0; !ret && i < vm->devices; i++)
		ret = vfm_source_add_device(m->source, vm->device[i].device);
	return ret;
}

static int check_uri(const char *uri, char *why)
{
	int ret = vfm_address_check(uri, why, VMM_WHY_MAX);

	if (!ret && strlen(uri) >= URI_MAX) {
		snprintf(why, VMM_WHY_MAX, "the address is longer than %d bytes", URI_MAX - 1);
		ret = -EINVAL;
	}
	return ret;
}

int migration_start(struct migration *m, const char *uri, char *why)
{
	int ret;

	ret = refusal(m, why);
	if (!ret)
		ret = check_uri(uri, why);
	if (ret < 0)
		return ret;
	forget_session(m);
	memset(&m->error, 0, sizeof(m->error));
	snprintf(m->uri, sizeof(m->uri), "%s", uri);
	ret = make_source(m);
	if (!ret)
		ret = thread_start(&m->connector, NULL, "connect", connector, m);
	if (ret < 0) {
		snprintf(why, VMM_WHY_MAX, "starting the migration: %s", strerror(-ret));
		forget_session(m);
		return ret;
	}
	m->connecting = true;
	m->cancelled = false;
	m->status = VFM_STATUS_ACTIVE;
	return 0;
}

static void outgoing_ended(struct migration *m)
{
	if (m->status == VFM_STATUS_COMPLETED)
		vmm_hold(m->app->vm, VMM_HOLD_GIVEN);
	else if (m->status == VFM_STATUS_IN_DOUBT)
		app_log(m->app, VFM_LOG_ERROR,
			"the migration is in doubt: the VM stays stopped until x-vfm-resolve says "
			"who has it");
}

/* A failure before the session started: its report must say so all the same. */
static void fail_early(struct migration *m, enum vfm_status status, int code, const char *text)
{
	m->status = status;
	m->error.stage = VFM_STAGE_HELLO;
	if (code)
		error_set(&m->error, code, "%s", text);
}

static void take_connection(struct migration *m, const struct mail *mail)
{
	int ret;

	thread_join(&m->connector);
	m->connecting = false;
	if (m->cancelled) {
		if (mail->fd >= 0)
			close(mail->fd);
		fail_early(m, VFM_STATUS_CANCELLED, ECANCELED, "cancelled");
		return;
	}
	if (mail->fd < 0) {
		fail_early(m, VFM_STATUS_FAILED, mail->fd, mail->why);
		return;
	}
	ret = vfm_source_start(m->source, mail->fd);
	if (ret < 0) {
		vfm_source_get_error(m->source, &m->error);
		fail_early(m, VFM_STATUS_FAILED, ret, "the migration did not start");
	}
}

int migration_cancel(struct migration *m)
{
	if (m->connecting) {
		m->cancelled = true;
		return 0;
	}
	if (!migration_active(m))
		return 0;
	return m->source ? vfm_source_cancel(m->source) : vfm_destination_cancel(m->destination);
}

int migration_resolve(struct migration *m, bool destination_runs)
{
	int ret;

	if (!m->source || m->status != VFM_STATUS_IN_DOUBT)
		return -EINVAL;
	if (destination_runs)
		vmm_hold(m->app->vm, VMM_HOLD_GIVEN);
	ret = vfm_source_resolve(m->source, destination_runs);
	if (!ret)
		m->status = destination_runs ? VFM_STATUS_COMPLETED : VFM_STATUS_FAILED;
	return ret;
}

/* ---- both ---- */

bool migration_active(const struct migration *m)
{
	return m->status == VFM_STATUS_ACTIVE;
}

bool migration_half_way_in(struct migration *m)
{
	struct vfm_progress p;

	migration_progress(m, &p);
	return m->destination && p.status == VFM_STATUS_ACTIVE && p.stage > VFM_STAGE_DESCRIBE &&
	       p.owner != VFM_OWNER_DESTINATION;
}

enum vfm_status migration_status(const struct migration *m)
{
	return m->status;
}

void migration_error(struct migration *m, char *text, size_t size)
{
	struct vfm_error error = m->error;

	if (!error.code && m->source)
		vfm_source_get_error(m->source, &error);
	else if (!error.code && m->destination)
		vfm_destination_get_error(m->destination, &error);
	text[0] = '\0';
	if (error.code)
		vfm_error_format(&error, text, size);
}

void migration_progress(struct migration *m, struct vfm_progress *progress)
{
	memset(progress, 0, sizeof(*progress));
	progress->size = sizeof(*progress);
	progress->predicted_downtime_ns = VFM_SIZE_UNKNOWN;
	if (m->source)
		vfm_source_get_progress(m->source, progress);
	else if (m->destination)
		vfm_destination_get_progress(m->destination, progress);
	progress->status = m->status;
}

static struct json_object *early_error(const struct vfm_error *error)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "stage", json_object_new_string(vfm_stage_name(error->stage)));
	json_object_object_add(o, "device", error->device[0] ? json_object_new_string(error->device)
							     : NULL);
	json_object_object_add(o, "errno", json_object_new_int(error->code));
	json_object_object_add(o, "text", json_object_new_string(error->text));
	return o;
}

/* The session that never started wrote a report of nothing; put the truth into it. */
static char *early_report(struct migration *m, const char *text)
{
	struct json_object *report = json_tokener_parse(text);
	char *out = NULL;

	if (!report)
		return NULL;
	json_object_object_add(report, "status",
			       json_object_new_string(vfm_status_name(m->status)));
	if (m->status == VFM_STATUS_FAILED)
		json_object_object_add(report, "error", early_error(&m->error));
	out = strdup(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN));
	json_object_put(report);
	return out;
}

char *migration_report(struct migration *m)
{
	char *text = NULL, *early;

	if (m->source)
		text = vfm_source_report_json(m->source);
	else if (m->destination)
		text = vfm_destination_report_json(m->destination);
	if (!text || !m->error.code)
		return text;
	early = early_report(m, text);
	free(text);
	return early;
}

struct vfm_options *migration_options(struct migration *m)
{
	return &m->options;
}

void migration_apply_limits(struct migration *m)
{
	if (!m->source || !migration_active(m))
		return;
	vfm_source_set_downtime_limit(m->source, m->options.downtime_limit_ns);
	vfm_source_set_max_bandwidth(m->source, m->options.max_bandwidth);
}

static void session_ended(struct migration *m, enum vfm_status status)
{
	m->status = status;
	if (m->source)
		outgoing_ended(m);
	else
		incoming_ended(m);
}

void migration_mail(struct migration *m, const struct mail *mail)
{
	if (mail->kind == MAIL_CONNECTED)
		take_connection(m, mail);
	else if (mail->type == VFM_EVENT_ENDED)
		session_ended(m, mail->status);
}
