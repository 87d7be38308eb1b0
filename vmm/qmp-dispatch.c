/* SPDX-License-Identifier: BSD-3-Clause */
/* From a request to its reply: one place checks what a command may be given. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "vmm/qmp.h"

int qmp_fail(struct qmp_call *call, const char *class, const char *fmt, ...)
{
	va_list args;

	call->error_class = class ? class : "GenericError";
	va_start(args, fmt);
	vsnprintf(call->error, sizeof(call->error), fmt, args);
	va_end(args);
	text_make_printable(call->error);
	return -1;
}

void qmp_put_text(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, value ? json_object_new_string(value) : NULL);
}

void qmp_put_u64(struct json_object *to, const char *key, uint64_t value)
{
	json_object_object_add(to, key, json_object_new_uint64(value));
}

void qmp_put_bool(struct json_object *to, const char *key, bool value)
{
	json_object_object_add(to, key, json_object_new_boolean(value));
}

void qmp_put_hash(struct json_object *to, const char *key, uint64_t value)
{
	char text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
	qmp_put_text(to, key, text);
}

struct json_object *qmp_error_object(const char *class, const char *text)
{
	struct json_object *reply = json_object_new_object();
	struct json_object *error = json_object_new_object();

	qmp_put_text(error, "class", class);
	qmp_put_text(error, "desc", text);
	json_object_object_add(reply, "error", error);
	return reply;
}

static const struct qmp_command *find(const char *name)
{
	const struct qmp_table *const *t;
	unsigned i;

	for (t = qmp_tables; *t; t++)
		for (i = 0; i < (*t)->count; i++)
			if (strcmp((*t)->commands[i].name, name) == 0)
				return &(*t)->commands[i];
	return NULL;
}

static const struct qmp_arg *find_arg(const struct qmp_command *c, const char *name)
{
	unsigned i;

	for (i = 0; i < QMP_ARGS_MAX && c->args[i].name; i++)
		if (strcmp(c->args[i].name, name) == 0)
			return &c->args[i];
	return NULL;
}

static int check_args(struct qmp_call *call, const struct qmp_command *c)
{
	unsigned i;

	json_object_object_foreach(call->args, key, value) {
		const struct qmp_arg *arg = find_arg(c, key);

		if (!arg)
			return qmp_fail(call, NULL, "Parameter '%.64s' is unexpected", key);
		if (arg->type != json_type_null && !json_object_is_type(value, arg->type))
			return qmp_fail(call, NULL, "Invalid parameter type for '%s', expected: %s",
					key, json_type_to_name(arg->type));
	}
	for (i = 0; i < QMP_ARGS_MAX && c->args[i].name; i++)
		if (c->args[i].required &&
		    !json_object_object_get_ex(call->args, c->args[i].name, NULL))
			return qmp_fail(call, NULL, "Parameter '%s' is missing", c->args[i].name);
	return 0;
}

/* Before negotiation there is one command only, and after it that one is an error. */
static int check_mode(struct qmp_call *call, const char *name)
{
	bool negotiates = strcmp(name, "qmp_capabilities") == 0;

	if (call->session->negotiated && negotiates)
		return qmp_fail(call, "CommandNotFound",
				"Capabilities negotiation is already complete, command ignored");
	if (!call->session->negotiated && !negotiates)
		return qmp_fail(call, "CommandNotFound",
				"Expecting capabilities negotiation with 'qmp_capabilities'");
	return 0;
}

static int execute(struct qmp_call *call, struct json_object *request)
{
	struct json_object *name, *args = NULL;
	const struct qmp_command *c;

	json_object_object_foreach(request, key, value) {
		(void)value;
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id"))
			return qmp_fail(call, NULL, "QMP input member '%.64s' is unexpected", key);
	}
	if (!json_object_object_get_ex(request, "execute", &name))
		return qmp_fail(call, NULL, "QMP input lacks member 'execute'");
	if (!json_object_is_type(name, json_type_string))
		return qmp_fail(call, NULL, "QMP input member 'execute' must be a string");
	if (json_object_object_get_ex(request, "arguments", &args) &&
	    !json_object_is_type(args, json_type_object))
		return qmp_fail(call, NULL, "QMP input member 'arguments' must be an object");
	if (check_mode(call, json_object_get_string(name)) < 0)
		return -1;
	c = find(json_object_get_string(name));
	if (!c)
		return qmp_fail(call, "CommandNotFound", "The command %.64s has not been found",
				json_object_get_string(name));
	call->args = args ? json_object_get(args) : json_object_new_object();
	return check_args(call, c) < 0 ? -1 : c->run(call);
}

struct json_object *qmp_dispatch(struct qmp_session *s, struct json_object *request)
{
	struct qmp_call call = {.app = s->app, .session = s};
	struct json_object *reply, *id;
	bool is_object = json_object_is_type(request, json_type_object);

	if (!is_object)
		qmp_fail(&call, NULL, "QMP input must be a JSON object");
	else
		execute(&call, request);
	if (call.error_class) {
		json_object_put(call.result);
		reply = qmp_error_object(call.error_class, call.error);
	} else {
		reply = json_object_new_object();
		json_object_object_add(reply, "return",
				       call.result ? call.result : json_object_new_object());
	}
	if (is_object && json_object_object_get_ex(request, "id", &id))
		json_object_object_add(reply, "id", json_object_get(id));
	json_object_put(call.args);
	return reply;
}
