/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program `vfio-migrate vm`: one VM, its control socket, its migration. Everything here belongs
 * to the main loop's thread, except the mailbox, through which the others speak to it.
 *
 *	steering thread  -- mail (events of the session) -->+
 *	connector thread -- mail (connected) -------------->| mailbox --> main loop --> QMP
 *	vCPU threads     -- notices ----------------------->+
 */
#ifndef VMM_APP_H
#define VMM_APP_H

#include <json-c/json.h>
#include <pthread.h>
#include <vfio-migrate/migrate.h>
#include "base/queue.h"
#include "vmm/vm.h"

enum mail_kind {
	MAIL_EVENT,     /* of the session */
	MAIL_CONNECTED, /* fd or -errno */
};

struct mail {
	struct queue_node node;
	enum mail_kind kind;
	enum vfm_event_type type;
	enum vfm_stage stage;
	enum vfm_status status;
	enum vfm_state state;
	char device[VFM_NAME_MAX];
	int fd;
	char why[VMM_WHY_MAX];
};

struct mailbox {
	pthread_mutex_t lock; /* a leaf */
	struct queue queue;
	int fd;               /* eventfd: readable when there is something */
	unsigned notices;     /* enum vmm_notice, atomic */
};

int mailbox_new(struct mailbox *box);
void mailbox_free(struct mailbox *box);
/* Takes @mail over, which malloc made. Any thread. */
void mailbox_post(struct mailbox *box, struct mail *mail);
void mailbox_notice(struct mailbox *box, enum vmm_notice notice);
/* The oldest mail, to be freed, or NULL. */
struct mail *mailbox_take(struct mailbox *box);
/* Forget the wake-up, before looking what there is. */
void mailbox_drain(struct mailbox *box);

struct app_options {
	struct vmm_config vm;
	const char *control;  /* path; NULL: none */
	const char *incoming; /* address; NULL: none */
	const char *spoil;    /* NULL: nothing */
	struct vfm_options migration; /* size 0: the library's defaults */
	enum vfm_stage die_at;     /* VFM_STAGE_NONE: live on */
	bool quiet;
};

struct migration;
struct qmp_server;

struct app {
	struct app_options options;
	struct mailbox mailbox;
	struct vmm *vm;
	struct migration *migration;
	struct qmp_server *qmp; /* NULL: none */
	int signals;            /* signalfd */
	bool running;           /* as the last STOP or RESUME event told */
	const char *told;       /* status in the last MIGRATION event; static text */
	bool panicked;
	bool quit;
	int status;             /* exit status */
};

/* Say something to the person at the terminal. Any thread. */
void app_log(void *opaque, enum vfm_log_level level, const char *line);

/* Tell STOP or RESUME if that is news. */
void app_set_running(struct app *app, bool running);

/* The state in QEMU's words. */
const char *app_run_state(struct app *app);

/* An event for everybody on the control socket; takes @data (may be NULL). */
void app_event(struct app *app, const char *name, struct json_object *data);

/* ---- migration.c ---- */

int migration_new(struct app *app, struct migration **migration);
/* Ends what runs. */
void migration_free(struct migration *m);

/* Wait for a VM at @address: the first one, or one that was given away before. -EBUSY: it is here. */
int migration_listen(struct migration *m, const char *address, char *why);
int migration_listener(const struct migration *m); /* fd, -1: none */
void migration_accept(struct migration *m);
const char *migration_address(const struct migration *m); /* "": does not listen */

/* Begin to move the VM away. */
int migration_start(struct migration *m, const char *uri, char *why);
int migration_cancel(struct migration *m);
int migration_resolve(struct migration *m, bool destination_runs);
bool migration_active(const struct migration *m);
/* A VM has begun to come in, and is not this side's yet. */
bool migration_half_way_in(struct migration *m);
enum vfm_status migration_status(const struct migration *m);
/* Why it failed, one line; "" */
void migration_error(struct migration *m, char *text, size_t size);
void migration_progress(struct migration *m, struct vfm_progress *progress);
/* The status in QEMU's words; NULL: it changes just now. */
const char *migration_status_word(struct migration *m);
/* malloc'ed JSON text; NULL: there was no migration, or no memory. */
char *migration_report(struct migration *m);
/* Settings of the next migration; limits also of the one that runs. */
struct vfm_options *migration_options(struct migration *m);
void migration_apply_limits(struct migration *m);

void migration_mail(struct migration *m, const struct mail *mail);

/* ---- spoil.c ---- */
/* For tests of the checks: break what arrived. @what: "memory", "device", "ring", "guest",
 * "heartbeat", "byte". Wraps the VM's ops. */
int spoil_ops(struct vmm *vm, const char *what, struct vfm_vm_ops *ops);

#endif
