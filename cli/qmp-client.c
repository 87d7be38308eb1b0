/* SPDX-License-Identifier: BSD-3-Clause */
#include "qmp-client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/unix-path.h"
#include "field.h"

#define READ_SIZE 16384u

struct qmp_client {
	int fd;
	char *line; /* bytes read and not yet taken as lines */
	size_t used;
	size_t room;
	struct json_object *events[QMP_CLIENT_EVENTS_MAX]; /* a ring, oldest at first */
	unsigned first;
	unsigned count;
	char why[QMP_CLIENT_WHY_MAX];
};

PRINTF(3, 4) static int fail(struct qmp_client *client, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(client->why, sizeof(client->why), format, args);
	va_end(args);
	return code;
}

static uint64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : clock_ns() + (uint64_t)timeout_ms * NS_PER_MSEC;
}

/* ms left, rounded up so that a wait never ends before its deadline. */
static int left_ms(uint64_t deadline)
{
	uint64_t now = clock_ns(), ms;

	if (deadline == UINT64_MAX)
		return -1;
	if (now >= deadline)
		return 0;
	ms = (deadline - now + NS_PER_MSEC - 1) / NS_PER_MSEC;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static int wait_for(struct qmp_client *client, short events, uint64_t deadline)
{
	struct pollfd pollfd = {.fd = client->fd, .events = events};
	int rc;

	do
		rc = poll(&pollfd, 1, left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return fail(client, -errno, "waiting for the control socket: %s", strerror(errno));
	return rc ? 0 : fail(client, -ETIMEDOUT, "no answer on the control socket in time");
}

/* Lines */

static int make_room(struct qmp_client *client)
{
	size_t room = client->room ? client->room * 2 : READ_SIZE;
	char *line;

	if (client->used < client->room)
		return 0;
	if (client->room >= QMP_CLIENT_LINE_MAX)
		return fail(client, -EMSGSIZE, "a line on the control socket exceeds %u bytes",
			    QMP_CLIENT_LINE_MAX);
	line = realloc(client->line, room);
	if (!line)
		return fail(client, -ENOMEM, "no memory for a line of the control socket");
	client->line = line;
	client->room = room;
	return 0;
}

static int read_some(struct qmp_client *client)
{
	ssize_t size;
	int rc = make_room(client);

	if (rc)
		return rc;
	size = recv(client->fd, client->line + client->used, client->room - client->used,
		    MSG_DONTWAIT);
	if (size > 0) {
		client->used += (size_t)size;
		return 0;
	}
	if (!size)
		return fail(client, -ECONNRESET, "the VM closed its control socket");
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return fail(client, -errno, "reading the control socket: %s", strerror(errno));
}

static int parse_line(struct qmp_client *client, size_t length, struct json_object **object)
{
	struct json_tokener *tokener = json_tokener_new_ex(QMP_CLIENT_DEPTH_MAX);
	enum json_tokener_error error;

	if (!tokener)
		return fail(client, -ENOMEM, "no memory to read the control socket");
	*object = json_tokener_parse_ex(tokener, client->line, (int)length);
	error = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	if (error == json_tokener_success && json_object_is_type(*object, json_type_object))
		return 0;
	json_object_put(*object);
	*object = NULL;
	return fail(client, -EPROTO, "what came on the control socket is not QMP");
}

/* The next line as an object. */
static int read_object(struct qmp_client *client, uint64_t deadline, struct json_object **object)
{
	size_t length, seen = 0;
	char *end;
	int rc;

	for (;;) {
		end = client->used > seen
			      ? memchr(client->line + seen, '\n', client->used - seen)
			      : NULL;
		if (end)
			break;
		seen = client->used;
		rc = wait_for(client, POLLIN, deadline);
		if (!rc)
			rc = read_some(client);
		if (rc)
			return rc;
	}
	length = (size_t)(end - client->line) + 1;
	rc = parse_line(client, length, object);
	client->used -= length;
	memmove(client->line, client->line + length, client->used);
	return rc;
}

static int write_all(struct qmp_client *client, const char *data, size_t size, uint64_t deadline)
{
	ssize_t done;
	int rc;

	while (size) {
		done = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EAGAIN) {
			rc = wait_for(client, POLLOUT, deadline);
			if (rc)
				return rc;
			continue;
		}
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fail(client, errno == EPIPE ? -ECONNRESET : -errno,
				    "writing to the control socket: %s", strerror(errno));
		data += done;
		size -= (size_t)done;
	}
	return 0;
}

/* Events */

static void keep_event(struct qmp_client *client, struct json_object *event)
{
	if (client->count == QMP_CLIENT_EVENTS_MAX) {
		json_object_put(client->events[client->first]);
		client->first = (client->first + 1) % QMP_CLIENT_EVENTS_MAX;
		client->count--;
	}
	client->events[(client->first + client->count++) % QMP_CLIENT_EVENTS_MAX] = event;
}

static struct json_object *take_event(struct qmp_client *client)
{
	struct json_object *event = client->events[client->first];

	client->first = (client->first + 1) % QMP_CLIENT_EVENTS_MAX;
	client->count--;
	return event;
}

int qmp_client_event(struct qmp_client *client, int timeout_ms, struct json_object **event)
{
	uint64_t deadline = deadline_of(timeout_ms);
	struct json_object *object;
	int rc;

	*event = NULL;
	if (client->count) {
		*event = take_event(client);
		return 0;
	}
	rc = read_object(client, deadline, &object);
	if (rc)
		return rc;
	if (!field_find(object, "event")) {
		json_object_put(object);
		return fail(client, -EPROTO, "a reply on the control socket that nobody waits for");
	}
	*event = object;
	return 0;
}

/* Commands */

/* In one piece: a VM that is told to quit may be gone before a second one is sent. */
static int send_line(struct qmp_client *client, const char *text, uint64_t deadline)
{
	char *line = NULL;
	int rc, length = text ? asprintf(&line, "%s\n", text) : -1;

	if (length < 0)
		return fail(client, -ENOMEM, "no memory for a command");
	rc = write_all(client, line, (size_t)length, deadline);
	free(line);
	return rc;
}

static int send_command(struct qmp_client *client, const char *command,
			struct json_object *arguments, uint64_t deadline)
{
	struct json_object *request = json_object_new_object();
	int rc;

	if (!request) {
		json_object_put(arguments);
		return fail(client, -ENOMEM, "no memory for a command");
	}
	json_object_object_add(request, "execute", json_object_new_string(command));
	if (arguments)
		json_object_object_add(request, "arguments", arguments);
	rc = send_line(client, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN),
		       deadline);
	json_object_put(request);
	return rc;
}

/* A reply; events that come before it are kept. */
static int read_reply(struct qmp_client *client, uint64_t deadline, struct json_object **reply)
{
	int rc;

	for (;;) {
		rc = read_object(client, deadline, reply);
		if (rc || !field_find(*reply, "event"))
			return rc;
		keep_event(client, *reply);
	}
}

static int take_reply(struct qmp_client *client, const char *command, struct json_object *reply,
		      struct json_object **result)
{
	struct json_object *value;

	if (field_find(reply, "error"))
		return fail(client, -EREMOTEIO, "%s", field_text(reply, "error.desc", command));
	if (!json_object_object_get_ex(reply, "return", &value))
		return fail(client, -EPROTO, "the reply to %s is not QMP", command);
	if (result)
		*result = json_object_get(value);
	return 0;
}

int qmp_client_execute(struct qmp_client *client, const char *command,
		       struct json_object *arguments, int timeout_ms, struct json_object **result)
{
	uint64_t deadline = deadline_of(timeout_ms);
	struct json_object *reply;
	int rc;

	if (result)
		*result = NULL;
	rc = send_command(client, command, arguments, deadline);
	if (!rc)
		rc = read_reply(client, deadline, &reply);
	if (rc)
		return rc;
	rc = take_reply(client, command, reply, result);
	json_object_put(reply);
	return rc;
}

/* Connecting */

static int fail_to_connect(struct qmp_client *client, const char *path, int error)
{
	return fail(client, error, "connecting to %s: %s", path, strerror(-error));
}

static int open_socket(struct qmp_client *client, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return fail(client, -EINVAL, "'%s' is no path of a control socket (1 to %zu bytes)",
			    path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return fail(client, -errno, "socket: %s", strerror(errno));
	if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)))
		return fail_to_connect(client, path, unix_path_explain(path, -errno));
	return 0;
}

static int negotiate(struct qmp_client *client, int timeout_ms)
{
	struct json_object *greeting;
	bool qmp;
	int rc = read_object(client, deadline_of(timeout_ms), &greeting);

	if (rc == -ETIMEDOUT)
		return fail(client, rc, "nobody greets at the socket: is it a VM's --control?");
	if (rc)
		return rc;
	qmp = field_find(greeting, "QMP");
	json_object_put(greeting);
	if (!qmp)
		return fail(client, -EPROTO, "the socket does not speak QMP");
	return qmp_client_execute(client, "qmp_capabilities", NULL, timeout_ms, NULL);
}

int qmp_client_connect(const char *path, int timeout_ms, struct qmp_client **result, char *why)
{
	struct qmp_client *client = calloc(1, sizeof(*client));
	int rc;

	*result = NULL;
	if (!client) {
		snprintf(why, QMP_CLIENT_WHY_MAX, "no memory");
		return -ENOMEM;
	}
	client->fd = -1;
	rc = open_socket(client, path);
	if (!rc)
		rc = negotiate(client, timeout_ms);
	if (rc) {
		snprintf(why, QMP_CLIENT_WHY_MAX, "%s", client->why);
		qmp_client_free(client);
		return rc;
	}
	*result = client;
	return 0;
}

void qmp_client_free(struct qmp_client *client)
{
	if (!client)
		return;
	while (client->count)
		json_object_put(take_event(client));
	if (client->fd >= 0)
		close(client->fd);
	free(client->line);
	free(client);
}

int qmp_client_fd(const struct qmp_client *client)
{
	return client->fd;
}

const char *qmp_client_why(const struct qmp_client *client)
{
	return client->why;
}

int qmp_client_no_sense(struct qmp_client *client, const char *command)
{
	return fail(client, -EPROTO, "the VM's answer to %s makes no sense", command);
}
