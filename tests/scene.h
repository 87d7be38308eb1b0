/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scene of the tests in which something goes wrong: a source and a destination VM with their
 * devices, all real processes (cli/lab.h), a small guest on the thread accelerator that works. Every
 * function ends the test if it does not find what it wants, and shows what the processes said.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include <stdint.h>

#include <json-c/json.h>
#include <vfio-migrate/migrate.h>

#include "base/compiler.h"
#include "cli/follow.h"
#include "cli/lab.h"

#define SCENE_WAIT_MS 60000

extern struct lab scene;
extern struct follow scene_follow; /* of the source */

int scene_open(void **state);  /* group set-up */
int scene_stop(void **state);  /* tear-down of a test */

/* What a test may change before scene_start. */
struct lab_config scene_config(void);

/* Both sides come up, and the guest has done some work. */
void scene_start(const struct lab_config *config);

/* A new destination or source, with the options that scene.config has now. */
void scene_renew(enum lab_end end);

/* Start a migration to @uri (scene.address), which ends with its first round. @bandwidth: bytes per
 * second, 0: any. */
void scene_migrate(const char *uri, uint64_t bandwidth);

/* The same without an end: no downtime is short enough. */
void scene_migrate_endlessly(void);

void scene_execute(enum lab_end end, const char *command, struct json_object *arguments);
void scene_set(const char *parameter, uint64_t value); /* of the source */

void scene_await_stage(enum lab_end end, enum vfm_stage stage);

/* The migration ends with @status. The report, valid until the next one. */
struct json_object *scene_expect_end(const char *status);

/* That VM runs the guest, which finds nothing wrong: its heart beats on from where it was when last
 * looked at, and never goes back. A guest that misses a beat or beats twice finds that wrong. */
void scene_expect_guest(enum lab_end end);

/* Its device works, too: the guest gets records, or bytes from a UART, and they are right. */
void scene_expect_device(enum lab_end end);

/* A number that x-vfm-verify tells of its first device: now, and a higher one soon. */
uint64_t scene_look(enum lab_end end, const char *member);
void scene_expect_more(enum lab_end end, const char *member);

/* The VMs have --p2p: an arrival is one only if no device wrote to another one late. */
void scene_watch_peers(void);

/* The destination is there and has not run the guest. */
void scene_expect_waiting(void);

/* The destination ended with a failure, ran no guest, and said so. */
void scene_expect_never_ran(void);

/* That VM's log has @text, now or soon. */
void scene_expect_said(enum lab_end end, const char *text);

/* How often that VM's log has @text, now. */
unsigned scene_count_said(enum lab_end end, const char *text);

/* Move to the destination that waits, and compare both VMs after it. The report, valid until the next
 * one. */
struct json_object *scene_expect_arrival(void);

/* The VM goes back to where it came from, which was told to wait for it. */
void scene_come_back(void);

void scene_kill(struct process *process, int signal);

#endif
