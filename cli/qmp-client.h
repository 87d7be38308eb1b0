/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's half of QMP, for the control socket of `vfio-migrate vm`: one JSON object per line,
 * a greeting, commands with replies in order, and events at any time. Events that arrive while a
 * reply is waited for are kept for qmp_client_event.
 *
 * Every wait is bounded by a timeout in ms (-1: for ever). One thread per client. Functions return
 * 0 or -errno; besides the usual: EPROTO (not QMP), EMSGSIZE (a line past QMP_CLIENT_LINE_MAX),
 * ECONNRESET (the other side closed), ETIMEDOUT, EREMOTEIO (the command was answered with an
 * error). After each of them qmp_client_why tells it as one line. All but EREMOTEIO and ETIMEDOUT
 * of qmp_client_event end the connection.
 */
#ifndef CLI_QMP_CLIENT_H
#define CLI_QMP_CLIENT_H

#include <stddef.h>

#include <json-c/json.h>

#define QMP_CLIENT_LINE_MAX   (4u << 20) /* bytes; a report of 64 devices is below a tenth of it */
#define QMP_CLIENT_EVENTS_MAX 256u       /* events kept; past it the oldest goes */
#define QMP_CLIENT_DEPTH_MAX  32         /* nesting of the JSON that is read */
#define QMP_CLIENT_WHY_MAX    512

struct qmp_client;

/* Connect to the unix socket @path, read the greeting and leave negotiation. On failure one line
 * is in @why (QMP_CLIENT_WHY_MAX bytes). */
int qmp_client_connect(const char *path, int timeout_ms, struct qmp_client **client, char *why);
void qmp_client_free(struct qmp_client *client);

/* Readable when something may have arrived. Events that are kept already do not show here: call
 * qmp_client_event with a timeout of 0 until it says ETIMEDOUT, then poll. */
int qmp_client_fd(const struct qmp_client *client);

/*
 * Send @command with @arguments (taken over, NULL for none) and wait for its reply. @result (may be
 * NULL) gets the value of "return", which the caller puts.
 */
int qmp_client_execute(struct qmp_client *client, const char *command,
		       struct json_object *arguments, int timeout_ms, struct json_object **result);

/* The next event, whole ({"event": ..., "data": ...}); the caller puts it. */
int qmp_client_event(struct qmp_client *client, int timeout_ms, struct json_object **event);

/* Why the last call failed. Valid until the next call. */
const char *qmp_client_why(const struct qmp_client *client);

/* For a caller that finds no sense in a reply: sets why, returns -EPROTO. */
int qmp_client_no_sense(struct qmp_client *client, const char *command);

#endif
