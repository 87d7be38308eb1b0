/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start a migration through a VM's control socket and follow it to its end. Used by `migrate` and
 * `demo`.
 *
 * The first interrupt asks the VM to cancel and goes on following: what became of the guest is
 * worth knowing. The second one leaves. So does a deadline: it cancels, and leaves after another
 * FOLLOW_CANCEL_MS.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include <vfio-migrate/migrate.h>

#include "progress.h"
#include "qmp-client.h"

#define FOLLOW_CANCEL_MS 30000
#define FOLLOW_REPLY_MS 30000 /* a VM that owes a reply for longer counts as lost */

struct follow {
	struct qmp_client *vm;    /* the source's */
	struct progress progress;
	int interrupts;           /* from interrupt_open */
	unsigned interrupted;     /* how many came */
	uint64_t deadline_ns;     /* of clock_ns(); 0: none */
	bool late;                /* it has passed */
};

/* Limits of the migration that runs or of the next one; VFM_UNLIMITED: none, 0: as it is. */
struct follow_limits {
	uint64_t downtime_ms;
	uint64_t bandwidth; /* bytes per second */
};

/* 0 or as qmp_client_execute. */
int follow_set_limits(struct follow *follow, const struct follow_limits *limits);

/* The downtime limit as it is, ms; negative: none. */
int follow_get_limit(struct follow *follow, double *ms);

int follow_start(struct follow *follow, const char *uri);

/* Until the migration has ended: 0. -EINTR: left by a second interrupt; -ETIME: by the deadline;
 * else as qmp_client_*. */
int follow_to_end(struct follow *follow);

/* What a VM tells of its migration. -EPROTO: it makes no sense. */
int follow_get_progress(struct follow *follow, struct vfm_progress *numbers);

/* The report of the last migration (docs/report.md); the caller puts it. */
int follow_get_report(struct follow *follow, struct json_object **report);

/* The exit status that belongs to a report. */
int follow_exit_status(struct json_object *report);

#endif
