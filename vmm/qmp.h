/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP, the control socket's protocol: JSON objects in both directions.
 *
 *	qmp-server.c     the socket and its clients
 *	qmp-session.c    one client: bytes in, requests out, replies as bytes
 *	qmp-dispatch.c   a request: negotiation, the command's row, its arguments, the reply
 *	qmp-commands.c   commands about the VM and the protocol
 *	qmp-migrate.c    commands about migration
 *	qmp-verify.c     what --verify found
 *
 * All of it runs on the main loop's thread. Names and meanings are QEMU's where it has them; our
 * own begin with "x-vfm-".
 */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <json-c/json.h>
#include <poll.h>
#include "vmm/app.h"

#define QMP_CLIENTS_MAX 8u
#define QMP_REQUEST_MAX (64u << 10) /* bytes of one request */
#define QMP_DEPTH_MAX   16          /* nesting of its JSON */
#define QMP_BACKLOG_MAX (4u << 20)  /* bytes that a client may leave unread */
#define QMP_ERROR_MAX   512

/* ---- qmp-session.c ---- */

struct qmp_session {
	struct app *app;
	struct json_tokener *tokener;
	size_t pending;     /* bytes of the request being read */
	bool skipping;      /* a syntax error: up to the next newline */
	bool negotiated;    /* qmp_capabilities was said */
	char *out;
	size_t out_size, out_capacity;
};

/* Starts with the greeting in out. */
int qmp_session_init(struct qmp_session *s, struct app *app);
void qmp_session_free(struct qmp_session *s);
/* Bytes of the client. -EMSGSIZE: a request without an end; -ENOBUFS: it does not read; -ENOMEM.
 * The client is then to be dropped. */
int qmp_session_feed(struct qmp_session *s, const char *data, size_t size);
/* Append one object as a line; takes nothing. */
int qmp_session_send(struct qmp_session *s, struct json_object *object);
/* The first @size bytes of out were sent. */
void qmp_session_sent(struct qmp_session *s, size_t size);

/* ---- qmp-dispatch.c ---- */

/* One request being answered. */
struct qmp_call {
	struct app *app;
	struct qmp_session *session;
	struct json_object *args;   /* an object, checked against the command's row */
	struct json_object *result; /* NULL: an empty object */
	const char *error_class;    /* set by qmp_fail */
	char error[QMP_ERROR_MAX];
};

struct qmp_arg {
	const char *name;
	enum json_type type; /* json_type_null: the command checks by itself */
	bool required;
};

#define QMP_ARGS_MAX 16

struct qmp_command {
	const char *name;
	int (*run)(struct qmp_call *call); /* 0, or what qmp_fail returned */
	struct qmp_arg args[QMP_ARGS_MAX]; /* up to the first without a name */
};

/* The commands of one file. */
struct qmp_table {
	const struct qmp_command *commands;
	unsigned count;
};

extern const struct qmp_table qmp_table_vm;
extern const struct qmp_table qmp_table_migrate;
extern const struct qmp_table qmp_table_verify;
/* All of them, ended by an empty one. */
extern const struct qmp_table *const qmp_tables[];

/* The reply to @request, which the caller puts. */
struct json_object *qmp_dispatch(struct qmp_session *s, struct json_object *request);

/* An error reply; NULL @class: GenericError. Returns -1. */
int qmp_fail(struct qmp_call *call, const char *class, const char *fmt, ...) PRINTF(3, 4);

struct json_object *qmp_error_object(const char *class, const char *text);

/* ---- small helpers for building replies ---- */
void qmp_put_text(struct json_object *to, const char *key, const char *value);
void qmp_put_u64(struct json_object *to, const char *key, uint64_t value);
void qmp_put_bool(struct json_object *to, const char *key, bool value);
/* NULL if value is not to be known. */
void qmp_put_hash(struct json_object *to, const char *key, uint64_t value);

/* ---- qmp-server.c ---- */

struct qmp_server;

/* Listen at @path, for its owner only. */
int qmp_server_new(const char *path, struct app *app, struct qmp_server **server, char *why);
void qmp_server_free(struct qmp_server *server);
/* Fill @fds with what to wait for, at most QMP_CLIENTS_MAX + 1. */
unsigned qmp_server_fds(struct qmp_server *server, struct pollfd *fds);
/* Look at what poll() said about them. */
void qmp_server_handle(struct qmp_server *server, const struct pollfd *fds, unsigned count);
void qmp_server_event(struct qmp_server *server, struct json_object *event);
/* Try once to get rid of what was not sent, before the end. */
void qmp_server_flush(struct qmp_server *server);

#endif
