/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One QMP client. Requests are JSON objects, one after the other; a newline between them is
 * usual and not needed. After a syntax error the rest of the line is skipped. What a client can
 * make us keep is bounded: the request that it has not finished, and the replies and events that
 * it has not read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/qmp.h"

#define FORMAT (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

static int append(struct qmp_session *s, const char *text, size_t size)
{
	size_t need = s->out_size + size + 1, capacity = s->out_capacity ? s->out_capacity : 4096;
	char *out;

	if (need > QMP_BACKLOG_MAX)
		return -ENOBUFS;
	while (capacity < need)
		capacity *= 2;
	if (capacity != s->out_capacity) {
		out = realloc(s->out, capacity);
		if (!out)
			return -ENOMEM;
		s->out = out;
		s->out_capacity = capacity;
	}
	memcpy(s->out + s->out_size, text, size);
	s->out[s->out_size + size] = '\n';
	s->out_size = need;
	return 0;
}

int qmp_session_send(struct qmp_session *s, struct json_object *object)
{
	size_t size;
	const char *text = json_object_to_json_string_length(object, FORMAT, &size);

	return text ? append(s, text, size) : -ENOMEM;
}

void qmp_session_sent(struct qmp_session *s, size_t size)
{
	memmove(s->out, s->out + size, s->out_size - size);
	s->out_size -= size;
}

static int greet(struct qmp_session *s)
{
	static const char greeting[] =
		"{\"QMP\":{\"version\":{\"qemu\":{\"major\":0,\"minor\":1,\"micro\":0},"
		"\"package\":\"vfio-migrate " VMM_VERSION "\"},\"capabilities\":[]}}";

	return append(s, greeting, sizeof(greeting) - 1);
}

int qmp_session_init(struct qmp_session *s, struct app *app)
{
	memset(s, 0, sizeof(*s));
	s->app = app;
	s->tokener = json_tokener_new_ex(QMP_DEPTH_MAX);
	if (!s->tokener)
		return -ENOMEM;
	json_tokener_set_flags(s->tokener, JSON_TOKENER_STRICT |
						   JSON_TOKENER_ALLOW_TRAILING_CHARS |
						   JSON_TOKENER_VALIDATE_UTF8);
	return greet(s);
}

void qmp_session_free(struct qmp_session *s)
{
	if (s->tokener)
		json_tokener_free(s->tokener);
	free(s->out);
	memset(s, 0, sizeof(*s));
}

static int answer(struct qmp_session *s, struct json_object *request)
{
	struct json_object *reply = qmp_dispatch(s, request);
	int ret = reply ? qmp_session_send(s, reply) : -ENOMEM;

	json_object_put(reply);
	return ret;
}

static int complain(struct qmp_session *s)
{
	struct json_object *reply = qmp_error_object("GenericError", "JSON parse error");
	int ret = reply ? qmp_session_send(s, reply) : -ENOMEM;

	json_object_put(reply);
	s->skipping = true;
	s->pending = 0;
	json_tokener_reset(s->tokener);
	return ret;
}

/* Drop blanks between requests, and the rest of a line with a syntax error. */
static size_t skip(struct qmp_session *s, const char *data, size_t size)
{
	size_t at = 0;

	if (s->skipping) {
		const char *end = memchr(data, '\n', size);

		if (!end)
			return size;
		at = (size_t)(end - data);
		s->skipping = false;
	}
	while (!s->pending && at < size && strchr(" \t\r\n", data[at]) && data[at])
		at++;
	return at;
}

/* Returns how many bytes it took, or -errno. A byte 0 is no JSON, and the tokener would take it
 * for the end: it never gets to see one. */
static ssize_t parse(struct qmp_session *s, const char *data, size_t size)
{
	const char *zero = memchr(data, 0, size);
	size_t length = zero ? (size_t)(zero - data) : size, used;
	struct json_object *request;
	enum json_tokener_error error;
	int ret;

	if (!length)
		return (ret = complain(s)) < 0 ? ret : 1;
	request = json_tokener_parse_ex(s->tokener, data, (int)length);
	error = json_tokener_get_error(s->tokener);
	used = json_tokener_get_parse_end(s->tokener);
	if (error == json_tokener_continue) {
		s->pending += length;
		return s->pending > QMP_REQUEST_MAX ? -EMSGSIZE : (ssize_t)length;
	}
	if (error != json_tokener_success)
		return (ret = complain(s)) < 0 ? ret : (ssize_t)MIN(used, length);
	s->pending = 0;
	json_tokener_reset(s->tokener);
	ret = answer(s, request);
	json_object_put(request);
	return ret < 0 ? ret : (ssize_t)MAX(MIN(used, length), 1u);
}

int qmp_session_feed(struct qmp_session *s, const char *data, size_t size)
{
	ssize_t used;
	size_t at = 0;

	for (;;) {
		at += skip(s, data + at, size - at);
		if (at == size)
			return 0;
		used = parse(s, data + at, MIN(size - at, (size_t)QMP_REQUEST_MAX));
		if (used < 0)
			return (int)used;
		at += (size_t)used;
	}
}
