/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about the VM and the protocol itself. */
#include <string.h>
#include "vmm/accel.h"
#include "vmm/qmp.h"

static int run_capabilities(struct qmp_call *call)
{
	struct json_object *enable;

	if (json_object_object_get_ex(call->args, "enable", &enable) &&
	    json_object_array_length(enable))
		return qmp_fail(call, NULL, "Capability is not available");
	call->session->negotiated = true;
	return 0;
}

static int run_query_commands(struct qmp_call *call)
{
	struct json_object *list = json_object_new_array();
	const struct qmp_table *const *t;
	unsigned i;

	for (t = qmp_tables; *t; t++)
		for (i = 0; i < (*t)->count; i++) {
			struct json_object *entry = json_object_new_object();

			qmp_put_text(entry, "name", (*t)->commands[i].name);
			json_object_array_add(list, entry);
		}
	call->result = list;
	return 0;
}

static int run_query_version(struct qmp_call *call)
{
	struct json_object *qemu = json_object_new_object();

	qmp_put_u64(qemu, "major", 0);
	qmp_put_u64(qemu, "minor", 1);
	qmp_put_u64(qemu, "micro", 0);
	call->result = json_object_new_object();
	json_object_object_add(call->result, "qemu", qemu);
	qmp_put_text(call->result, "package", "vfio-migrate " VMM_VERSION);
	return 0;
}

static int run_query_status(struct qmp_call *call)
{
	bool running = !vmm_holds(call->app->vm);

	call->result = json_object_new_object();
	qmp_put_bool(call->result, "running", running);
	qmp_put_text(call->result, "status", app_run_state(call->app));
	return 0;
}

static int run_query_kvm(struct qmp_call *call)
{
	call->result = json_object_new_object();
	qmp_put_bool(call->result, "enabled",
		     strcmp(call->app->vm->accel->name, "kvm") == 0);
	qmp_put_bool(call->result, "present", strcmp(call->app->vm->accel->name, "kvm") == 0);
	return 0;
}

/* Also while a migration runs: the VM then arrives stopped. */
static int run_stop(struct qmp_call *call)
{
	int ret = vmm_hold(call->app->vm, VMM_HOLD_USER);

	app_set_running(call->app, false);
	return ret < 0 ? qmp_fail(call, NULL, "stopping the vCPUs: %s", strerror(-ret)) : 0;
}

static int run_cont(struct qmp_call *call)
{
	unsigned holds = vmm_holds(call->app->vm);
	int ret;

	if (holds & VMM_HOLD_INCOMING)
		return qmp_fail(call, NULL, "The VM waits for an incoming migration");
	if (holds & VMM_HOLD_GIVEN)
		return qmp_fail(call, NULL, "The VM was given to a destination, which runs it");
	if (holds & VMM_HOLD_BROKEN)
		return qmp_fail(call, NULL, "A vCPU cannot go on");
	ret = vmm_release(call->app->vm, VMM_HOLD_USER);
	if (ret < 0)
		return qmp_fail(call, NULL, "starting the vCPUs: %s", strerror(-ret));
	app_set_running(call->app, !vmm_holds(call->app->vm));
	return 0;
}

static int run_quit(struct qmp_call *call)
{
	call->app->quit = true;
	return 0;
}

static const struct qmp_command commands[] = {
	{"qmp_capabilities", run_capabilities, {{"enable", json_type_array, false}}},
	{"query-commands", run_query_commands, {{NULL, json_type_null, false}}},
	{"query-version", run_query_version, {{NULL, json_type_null, false}}},
	{"query-status", run_query_status, {{NULL, json_type_null, false}}},
	{"query-kvm", run_query_kvm, {{NULL, json_type_null, false}}},
	{"stop", run_stop, {{NULL, json_type_null, false}}},
	{"cont", run_cont, {{NULL, json_type_null, false}}},
	{"quit", run_quit, {{NULL, json_type_null, false}}},
};

const struct qmp_table qmp_table_vm = {commands, ARRAY_SIZE(commands)};

const struct qmp_table *const qmp_tables[] = {
	&qmp_table_vm,
	&qmp_table_migrate,
	&qmp_table_verify,
	NULL,
};
