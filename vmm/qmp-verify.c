/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * x-vfm-verify: how the VM stands.
 *
 *	stopped   null, or what the last switchover found (--verify), vCPUs and devices stopped:
 *	          memory (hash), heartbeat [per vCPU], took-ms,
 *	          devices [{name, hash or null, counter, ring}]
 *	live      now: accel, cpus, failures, failure (text), heartbeat, pages, sweeps [per vCPU],
 *	          devices [{name, records, irqs, doorbells, gone, uart}]
 *
 * uart is null, or for a serial card that loops back {sent, received, lost, doubled}, in bytes.
 * With --p2p each device has p2p {sent, arrived, seen, late} in both lists, null if it could not be
 * asked. For that one the device is asked now, which can take as long as a transition.
 *
 * Hashes are XXH3, 16 hexadecimal digits. `counter` is the device's count of records, `ring` the
 * number of the last record in the ring and one more, `records` those that the guest has checked.
 */
#include <stdio.h>
#include <string.h>
#include "vmm/accel.h"
#include "vmm/qmp.h"

static const char *const failure_texts[GUEST_FAIL_COUNT] = {
	[GUEST_OK] = "",
	[GUEST_FAIL_TAG] = "a page is of another generation",
	[GUEST_FAIL_WORD] = "a word of a page is wrong",
	[GUEST_FAIL_BEAT] = "the heartbeat is wrong",
	[GUEST_FAIL_CLOCK] = "time went back",
	[GUEST_FAIL_SEQUENCE] = "a ring record is not the next one",
	[GUEST_FAIL_PAYLOAD] = "a word of a ring record is wrong",
	[GUEST_FAIL_CHECKSUM] = "the checksum of a ring record is wrong",
	[GUEST_FAIL_PRODUCER] = "the ring's index is wrong",
	[GUEST_FAIL_DEVICE] = "the device is not as promised",
	[GUEST_FAIL_DOORBELL] = "the device counted other doorbells than were rung",
	[GUEST_FAIL_SCRATCH] = "a device register lost its value",
	[GUEST_FAIL_TRAP] = "the processor raised an exception",
	[GUEST_FAIL_CONFIG] = "a register of PCI config space lost its value",
	[GUEST_FAIL_UART] = "a UART's register lost its value",
};

/* The record is the guest's, so that its kind is only looked up if it is one. */
static void put_failure(struct json_object *to, const struct guest_shared *s)
{
	uint64_t failures = __atomic_load_n(&s->failures, __ATOMIC_ACQUIRE);
	struct guest_failure f = s->failure;
	char text[256] = "";

	if (failures)
		snprintf(text, sizeof(text), "%s at 0x%llx: expected 0x%llx, found 0x%llx",
			 f.kind < GUEST_FAIL_COUNT ? failure_texts[f.kind] : "?",
			 (unsigned long long)f.address, (unsigned long long)f.expected,
			 (unsigned long long)f.found);
	qmp_put_u64(to, "failures", failures);
	qmp_put_text(to, "failure", text);
}

static uint64_t look(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static struct json_object *live_cpus(struct vmm *vm, size_t member)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < vm->config.cpus; i++) {
		const char *cpu = (const char *)&vmm_shared(vm)->cpu[i];

		json_object_array_add(list, json_object_new_uint64(
						    look((const uint64_t *)(cpu + member))));
	}
	return list;
}

static void put_peer(struct json_object *to, const struct vmm_peer *peer)
{
	struct json_object *o = peer ? json_object_new_object() : NULL;

	json_object_object_add(to, "p2p", o);
	if (!peer)
		return;
	qmp_put_u64(o, "sent", peer->sent);
	qmp_put_u64(o, "arrived", peer->arrived);
	qmp_put_u64(o, "seen", peer->seen);
	qmp_put_u64(o, "late", peer->late);
}

static void put_uart(const struct guest_shared_device *d, bool is_uart, struct json_object *to)
{
	struct json_object *o = is_uart ? json_object_new_object() : NULL;

	json_object_object_add(to, "uart", o);
	if (!o)
		return;
	qmp_put_u64(o, "received", look(&d->received));
	qmp_put_u64(o, "sent", look(&d->sent));
	qmp_put_u64(o, "lost", look(&d->lost));
	qmp_put_u64(o, "doubled", look(&d->doubled));
}

static void put_live_peer(struct vmm *vm, unsigned i, struct json_object *to)
{
	struct vmm_peer peer;

	if (vm->config.p2p)
		put_peer(to, peers_look(vm, i, &peer) ? NULL : &peer);
}

static struct json_object *live_devices(struct vmm *vm)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < vm->devices; i++) {
		const struct guest_shared_device *d = &vmm_shared(vm)->device[i];
		struct json_object *entry = json_object_new_object();

		qmp_put_text(entry, "name", vm->device[i].name);
		qmp_put_u64(entry, "records", look(&d->records));
		qmp_put_u64(entry, "irqs", look(&d->irqs));
		qmp_put_u64(entry, "doorbells", look(&d->doorbells));
		qmp_put_bool(entry, "gone", look(&d->gone) != 0);
		put_uart(d, vm->params.device[i].driver == GUEST_DRIVER_UART, entry);
		put_live_peer(vm, i, entry);
		json_object_array_add(list, entry);
	}
	return list;
}

static struct json_object *live(struct vmm *vm)
{
	struct json_object *o = json_object_new_object();

	qmp_put_text(o, "accel", vm->accel->name);
	qmp_put_u64(o, "cpus", vm->config.cpus);
	put_failure(o, vmm_shared(vm));
	json_object_object_add(o, "heartbeat",
			       live_cpus(vm, offsetof(struct guest_shared_cpu, heartbeat)));
	json_object_object_add(o, "pages", live_cpus(vm, offsetof(struct guest_shared_cpu, pages)));
	json_object_object_add(o, "sweeps",
			       live_cpus(vm, offsetof(struct guest_shared_cpu, sweeps)));
	json_object_object_add(o, "devices", live_devices(vm));
	return o;
}

static struct json_object *stopped_devices(struct vmm *vm, const struct vmm_inspection *in)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < vm->devices; i++) {
		struct json_object *entry = json_object_new_object();

		qmp_put_text(entry, "name", vm->device[i].name);
		if (in->device[i].result == 0)
			qmp_put_hash(entry, "hash", in->device[i].hash);
		else
			json_object_object_add(entry, "hash", NULL);
		qmp_put_u64(entry, "counter", in->device[i].records);
		qmp_put_u64(entry, "ring", in->device[i].ring);
		if (vm->config.p2p)
			put_peer(entry, in->device[i].result ? NULL : &in->device[i].peer);
		json_object_array_add(list, entry);
	}
	return list;
}

static struct json_object *stopped(struct vmm *vm)
{
	struct json_object *o, *hearts;
	struct vmm_inspection in;
	unsigned i;

	pthread_mutex_lock(&vm->lock);
	in = vm->inspection;
	pthread_mutex_unlock(&vm->lock);
	if (!in.taken)
		return NULL;
	o = json_object_new_object();
	hearts = json_object_new_array();
	for (i = 0; i < vm->config.cpus; i++)
		json_object_array_add(hearts, json_object_new_uint64(in.heartbeat[i]));
	qmp_put_hash(o, "memory", in.memory);
	json_object_object_add(o, "took-ms", json_object_new_double((double)in.took_ns / 1e6));
	json_object_object_add(o, "heartbeat", hearts);
	json_object_object_add(o, "devices", stopped_devices(vm, &in));
	return o;
}

static int run_verify(struct qmp_call *call)
{
	if (!call->app->vm->config.verify)
		return qmp_fail(call, NULL, "This VM was started without --verify");
	call->result = json_object_new_object();
	json_object_object_add(call->result, "stopped", stopped(call->app->vm));
	json_object_object_add(call->result, "live", live(call->app->vm));
	return 0;
}

static const struct qmp_command commands[] = {
	{"x-vfm-verify", run_verify, {{NULL, json_type_null, false}}},
};

const struct qmp_table qmp_table_verify = {commands, ARRAY_SIZE(commands)};
