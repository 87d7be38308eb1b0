/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The main loop: one thread, one poll() over signals, mail, the control socket and the migration's
 * listening socket. Nothing in it blocks for longer than stopping the vCPUs takes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "cli/exit.h"
#include "vmm/main.h"
#include "vmm/qmp.h"

#define FIXED_FDS 3 /* signals, mail, migration's listener */

/* ---- speaking ---- */

static struct json_object *timestamp(void)
{
	struct json_object *o = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object_object_add(o, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(o, "microseconds", json_object_new_int64(now.tv_nsec / 1000));
	return o;
}

void app_event(struct app *app, const char *name, struct json_object *data)
{
	struct json_object *event;

	if (!app->qmp) {
		json_object_put(data);
		return;
	}
	event = json_object_new_object();
	json_object_object_add(event, "timestamp", timestamp());
	qmp_put_text(event, "event", name);
	if (data)
		json_object_object_add(event, "data", data);
	qmp_server_event(app->qmp, event);
	json_object_put(event);
}

void app_log(void *opaque, enum vfm_log_level level, const char *line)
{
	const struct app *app = opaque;

	if (level >= VFM_LOG_DEBUG || (app->options.quiet && level > VFM_LOG_WARN))
		return;
	fprintf(stderr, "vfio-migrate vm: %s\n", line);
}

static void on_notice(void *opaque, enum vmm_notice notice)
{
	struct app *app = opaque;

	mailbox_notice(&app->mailbox, notice);
}

void app_set_running(struct app *app, bool running)
{
	if (running == app->running)
		return;
	app->running = running;
	app_event(app, running ? "RESUME" : "STOP", NULL);
}

const char *app_run_state(struct app *app)
{
	unsigned holds = vmm_holds(app->vm);

	if (holds & VMM_HOLD_BROKEN)
		return "internal-error";
	if (holds & VMM_HOLD_INCOMING)
		return "inmigrate";
	if (holds & VMM_HOLD_GIVEN)
		return "postmigrate";
	if (app->panicked)
		return "guest-panicked";
	if (holds & VMM_HOLD_MIGRATION)
		return "finish-migrate";
	return holds & VMM_HOLD_USER ? "paused" : "running";
}

/* ---- mail ---- */

static void tell_migration(struct app *app)
{
	const char *word = migration_status_word(app->migration);
	struct json_object *data;

	if (!word || (app->told && strcmp(app->told, word) == 0))
		return;
	app->told = word;
	data = json_object_new_object();
	qmp_put_text(data, "status", word);
	app_event(app, "MIGRATION", data);
}

/* QEMU's spelling of a state: lower case, with hyphens. */
static void tell_device(struct app *app, const struct mail *mail)
{
	struct json_object *data = json_object_new_object();
	char state[32], path[VFM_NAME_MAX + 32], *c;

	snprintf(state, sizeof(state), "%s", vfm_state_name(mail->state));
	for (c = state; *c; c++)
		*c = *c == '_' ? '-' : (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	snprintf(path, sizeof(path), "/machine/peripheral/%s", mail->device);
	qmp_put_text(data, "device-id", mail->device);
	qmp_put_text(data, "qom-path", path);
	qmp_put_text(data, "device-state", state);
	app_event(app, "VFIO_MIGRATION", data);
}

static void handle_mail(struct app *app, const struct mail *mail)
{
	migration_mail(app->migration, mail);
	if (mail->kind == MAIL_EVENT && mail->type == VFM_EVENT_DEVICE)
		tell_device(app, mail);
	else if (mail->kind == MAIL_EVENT && mail->type == VFM_EVENT_STOPPED)
		app_set_running(app, false);
	else if (mail->kind == MAIL_EVENT && mail->type == VFM_EVENT_RUNNING)
		app_set_running(app, !vmm_holds(app->vm));
	tell_migration(app);
}

static void guest_panicked(struct app *app)
{
	struct json_object *data = json_object_new_object();
	const struct guest_failure *f = &vmm_shared(app->vm)->failure;
	char line[160];

	app->panicked = true;
	snprintf(line, sizeof(line),
		 "the guest found a wrong byte and stopped: kind %u at 0x%llx, expected 0x%llx, "
		 "found 0x%llx",
		 f->kind, (unsigned long long)f->address, (unsigned long long)f->expected,
		 (unsigned long long)f->found);
	app_log(app, VFM_LOG_ERROR, line);
	qmp_put_text(data, "action", "run");
	app_event(app, "GUEST_PANICKED", data);
}

static void handle_notices(struct app *app)
{
	unsigned notices = __atomic_exchange_n(&app->mailbox.notices, 0, __ATOMIC_ACQ_REL);

	if (notices & VMM_NOTICE_PANIC)
		guest_panicked(app);
	if (notices & VMM_NOTICE_BROKEN) {
		vmm_hold(app->vm, VMM_HOLD_BROKEN);
		app_set_running(app, false);
	}
}

static void handle_mailbox(struct app *app)
{
	struct mail *mail;

	mailbox_drain(&app->mailbox);
	while ((mail = mailbox_take(&app->mailbox))) {
		handle_mail(app, mail);
		free(mail);
	}
	handle_notices(app);
}

static void handle_signals(struct app *app)
{
	struct signalfd_siginfo info;

	while (read(app->signals, &info, sizeof(info)) == sizeof(info))
		app->quit = true;
	if (app->quit)
		vmm_end(app->vm);
}

/* ---- the loop ---- */

static void loop_once(struct app *app)
{
	struct pollfd fds[FIXED_FDS + 1 + QMP_CLIENTS_MAX] = {
		{.fd = app->signals, .events = POLLIN},
		{.fd = app->mailbox.fd, .events = POLLIN},
		{.fd = migration_listener(app->migration), .events = POLLIN},
	};
	unsigned clients = app->qmp ? qmp_server_fds(app->qmp, fds + FIXED_FDS) : 0;

	if (poll(fds, FIXED_FDS + clients, -1) < 0)
		return;
	if (fds[0].revents)
		handle_signals(app);
	if (fds[2].revents)
		migration_accept(app->migration);
	if (fds[1].revents)
		handle_mailbox(app);
	if (clients)
		qmp_server_handle(app->qmp, fds + FIXED_FDS, clients);
	tell_migration(app);
	if (app->qmp)
		qmp_server_flush(app->qmp);
}

/* Signals come through a file descriptor, and threads made later inherit that they are blocked. */
static int take_signals(struct app *app, char *why)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
		app->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (app->signals >= 0)
		return 0;
	snprintf(why, VMM_WHY_MAX, "signals: %s", strerror(errno));
	return -errno;
}

/* The control socket comes last: who finds it finds a VM that is ready. */
static int build(struct app *app, char *why)
{
	int ret;

	ret = take_signals(app, why);
	if (!ret)
		ret = vmm_new(&app->options.vm, &app->vm, why);
	if (!ret && (ret = migration_new(app, &app->migration)))
		snprintf(why, VMM_WHY_MAX, "no memory");
	if (!ret && app->options.incoming && strcmp(app->options.incoming, "defer") != 0)
		ret = migration_listen(app->migration, app->options.incoming, why);
	if (!ret && app->options.control)
		ret = qmp_server_new(app->options.control, app, &app->qmp, why);
	return ret;
}

static void tell_guest(struct app *app)
{
	const struct vmm_config *config = &app->options.vm;
	char line[128];

	snprintf(line, sizeof(line), "a guest of %llu MiB with %u device%s %s",
		 (unsigned long long)(config->memory >> 20), config->devices,
		 config->devices == 1 ? "" : "s",
		 app->running ? "is at work" : "is paused, until told to run");
	app_log(app, VFM_LOG_INFO, line);
}

static void tell_incoming(struct app *app)
{
	const char *address = migration_address(app->migration);
	char line[VMM_WHY_MAX + 64];

	snprintf(line, sizeof(line), "waits for a migration at %.200s",
		 *address ? address : "what migrate-incoming will say");
	app_log(app, VFM_LOG_INFO, line);
}

/* How one gets at a VM that has no window and reads no keys. */
static void tell_control(struct app *app)
{
	char line[VMM_WHY_MAX + 64];

	if (app->options.control)
		snprintf(line, sizeof(line), "takes commands at %.200s", app->options.control);
	else
		snprintf(line, sizeof(line), "takes no commands, for want of --control; a signal, "
					     "as Ctrl-C, ends it; see --help");
	app_log(app, VFM_LOG_INFO, line);
}

static int start(struct app *app, char *why)
{
	int ret = 0;

	if (!app->options.incoming && !app->options.vm.paused)
		ret = vmm_release(app->vm, VMM_HOLD_USER);
	if (ret < 0)
		snprintf(why, VMM_WHY_MAX, "starting the vCPUs: %s", strerror(-ret));
	app->running = !vmm_holds(app->vm);
	if (ret < 0)
		return ret;
	if (app->options.incoming)
		tell_incoming(app);
	else
		tell_guest(app);
	tell_control(app);
	return 0;
}

static void tell_shutdown(struct app *app)
{
	struct json_object *data = json_object_new_object();

	qmp_put_bool(data, "guest", false);
	qmp_put_text(data, "reason", "host-qmp-quit");
	app_event(app, "SHUTDOWN", data);
	if (app->qmp)
		qmp_server_flush(app->qmp);
}

/* Told to quit before the VM was this side's: what had come of it is gone. */
static void tell_unfinished(struct app *app)
{
	if (!migration_half_way_in(app->migration))
		return;
	app_log(app, VFM_LOG_ERROR,
		"quit in the middle of an incoming migration; the guest never ran here");
	app->status = CLI_EXIT_FAILED;
}

/* The session ends first, since it uses the VM; threads of both are gone after that. */
static void destroy(struct app *app)
{
	migration_free(app->migration);
	qmp_server_free(app->qmp);
	vmm_free(app->vm);
	if (app->signals >= 0)
		close(app->signals);
	mailbox_free(&app->mailbox);
}

static int exit_status(int error)
{
	return error == -ERANGE ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
}

int app_run(const struct app_options *options)
{
	struct app *app = calloc(1, sizeof(*app));
	char why[VMM_WHY_MAX] = "no memory";
	int ret, status;

	if (!app || mailbox_new(&app->mailbox) < 0) {
		fprintf(stderr, "vfio-migrate vm: %s\n", why);
		free(app);
		return 1;
	}
	app->options = *options;
	app->options.vm.opaque = app;
	app->options.vm.log = app_log;
	app->options.vm.notice = on_notice;
	app->signals = -1;
	ret = build(app, why);
	if (!ret)
		ret = start(app, why);
	if (ret < 0)
		app_log(app, VFM_LOG_ERROR, why);
	while (!ret && !app->quit)
		loop_once(app);
	if (!ret) {
		tell_unfinished(app);
		tell_shutdown(app);
	}
	status = ret < 0 ? exit_status(ret) : app->status;
	destroy(app);
	free(app);
	return status;
}
