/* SPDX-License-Identifier: BSD-3-Clause */
/* The judging: from what was seen to the checks. verify-look.c does the seeing. */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/compiler.h"
#include "units.h"

typedef bool judge_fn(const struct verify *verify, char *text);

PRINTF(2, 3) static bool refuse(char *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, VERIFY_WHY_MAX, format, args);
	va_end(args);
	return false;
}

PRINTF(2, 3) static bool accept(char *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, VERIFY_WHY_MAX, format, args);
	va_end(args);
	return true;
}

static bool same_devices(const struct verify *verify, char *text)
{
	const struct verify_stopped *source = &verify->source.stopped;
	const struct verify_stopped *destination = &verify->destination.stopped;
	unsigned i;

	if (!source->devices)
		return refuse(text, "there is no device");
	if (source->devices != destination->devices)
		return refuse(text, "%u devices on the source, %u on the destination",
			      source->devices, destination->devices);
	for (i = 0; i < source->devices; i++)
		if (strcmp(source->device[i].name, destination->device[i].name))
			return refuse(text, "device %u is %s on the source, %s on the destination",
				      i, source->device[i].name, destination->device[i].name);
	return true;
}

static bool judge_memory(const struct verify *verify, char *text)
{
	const char *before = verify->source.stopped.memory;
	const char *after = verify->destination.stopped.memory;

	if (!*before || !*after)
		return refuse(text, "not hashed on the %s", *before ? "destination" : "source");
	if (strcmp(before, after))
		return refuse(text, "%s on the source, %s on the destination", before, after);
	return accept(text, "hash %s on both sides", before);
}

static bool judge_device(const struct verify *verify, char *text)
{
	unsigned i;

	if (!same_devices(verify, text))
		return false;
	for (i = 0; i < verify->source.stopped.devices; i++) {
		const struct verify_device *before = &verify->source.stopped.device[i];
		const struct verify_device *after = &verify->destination.stopped.device[i];

		if (!*before->hash || !*after->hash)
			return refuse(text, "%s: not hashed on the %s", before->name,
				      *before->hash ? "destination" : "source");
		if (strcmp(before->hash, after->hash))
			return refuse(text, "%s: %s on the source, %s on the destination",
				      before->name, before->hash, after->hash);
		accept(text, "hash %s on both sides%s", before->hash,
		       verify->source.stopped.devices > 1 ? " (the last one)" : "");
	}
	return true;
}

static bool judge_ring_of(const char *side, const struct verify_device *device, char *text)
{
	if (!device->counter)
		return refuse(text, "%s: no record was written on the %s", device->name, side);
	if (device->counter != device->ring)
		return refuse(text, "%s: on the %s the device counts %" PRIu64
				    " records, the ring ends at %" PRIu64,
			      device->name, side, device->counter, device->ring);
	return true;
}

/* One that does no DMA: it wrote nothing, and counts on. */
static bool judge_silent(const struct verify *verify, unsigned i, char *text)
{
	const struct verify_device *device = &verify->destination.stopped.device[i];

	if (device->counter || verify->source.stopped.device[i].counter)
		return refuse(text, "%s: records of a device that does no DMA", device->name);
	if (verify->destination.live.doorbells[i] <= verify->source.live.doorbells[i])
		return refuse(text, "%s: no doorbell on the destination", device->name);
	return accept(text, "%s does no DMA, and counts its doorbells on", device->name);
}

static bool judge_ring(const struct verify *verify, char *text)
{
	char count[UNITS_SIZE], silent[VERIFY_WHY_MAX];
	unsigned i;

	text[0] = '\0';
	if (!same_devices(verify, text))
		return false;
	for (i = 0; i < verify->source.stopped.devices; i++) {
		const struct verify_device *before = &verify->source.stopped.device[i];
		const struct verify_device *after = &verify->destination.stopped.device[i];

		if (verify->source.live.uart[i].known)
			continue;
		if (verify->silent >> i & 1) {
			if (!judge_silent(verify, i, silent))
				return refuse(text, "%s", silent);
			if (!*text) /* else what is said of a ring is worth more */
				accept(text, "%s", silent);
			continue;
		}
		if (!judge_ring_of("source", before, text) ||
		    !judge_ring_of("destination", after, text))
			return false;
		if (before->counter != after->counter)
			return refuse(text, "%s: %" PRIu64 " records on the source, %" PRIu64
					    " on the destination",
				      before->name, before->counter, after->counter);
		if (verify->destination.live.records[i] <= after->counter)
			return refuse(text, "%s: no new record on the destination", before->name);
		accept(text, "ends at record %s, as the device counts, and goes on",
		       units_count(count, before->counter));
	}
	return true;
}

static bool judge_guest(const struct verify *verify, char *text)
{
	const struct verify_live *before = &verify->source.live;
	const struct verify_live *after = &verify->destination.live;
	uint64_t there = 0, all = 0;
	char pages[UNITS_SIZE], more[UNITS_SIZE];
	unsigned i;

	if (before->failures || after->failures)
		return refuse(text, "stopped on the %s: %s",
			      after->failures ? "destination" : "source",
			      after->failures ? after->failure : before->failure);
	if (!after->running || before->running)
		return refuse(text, "%s",
			      before->running ? "runs on at the source as well"
					      : "does not run on the destination");
	if (!before->cpus || before->cpus != after->cpus)
		return refuse(text, "%u vCPUs on the source, %u on the destination", before->cpus,
			      after->cpus);
	for (i = 0; i < before->cpus; i++) {
		if (!before->pages[i])
			return refuse(text, "vCPU %u did no work on the source", i);
		if (after->pages[i] <= before->pages[i])
			return refuse(text, "vCPU %u did no work on the destination", i);
		there += before->pages[i];
		all += after->pages[i];
	}
	return accept(text, "no wrong byte; %s pages here, %s more there",
		      units_count(pages, there), units_count(more, all - there));
}

static bool judge_heart(const struct verify *verify, unsigned cpu, char *text)
{
	uint64_t left = verify->source.stopped.heartbeat[cpu];
	uint64_t came = verify->destination.stopped.heartbeat[cpu];

	if (!left)
		return refuse(text, "vCPU %u: no beat on the source", cpu);
	if (came != left)
		return refuse(text, "vCPU %u: stopped at %" PRIu64 ", came as %" PRIu64, cpu, left,
			      came);
	if (verify->source.live.heartbeat[cpu] != left)
		return refuse(text, "vCPU %u: beats on at the source as well", cpu);
	if (verify->destination.live.heartbeat[cpu] <= came)
		return refuse(text, "vCPU %u: stands still on the destination", cpu);
	return true;
}

static bool judge_heartbeat(const struct verify *verify, char *text)
{
	unsigned cpus = verify->source.stopped.cpus, i;
	char left[UNITS_SIZE], now[UNITS_SIZE];

	if (!cpus || verify->destination.stopped.cpus != cpus)
		return refuse(text, "%u hearts on the source, %u on the destination", cpus,
			      verify->destination.stopped.cpus);
	for (i = 0; i < cpus; i++)
		if (!judge_heart(verify, i, text))
			return false;
	return accept(text, "beat %s was the last here, now at %s there",
		      units_count(left, verify->source.stopped.heartbeat[0]),
		      units_count(now, verify->destination.live.heartbeat[0]));
}

static bool judge_peer_of(const char *side, const char *name, const struct verify_peer *peer,
			  char *text)
{
	if (!peer->known)
		return refuse(text, "%s: not to be asked on the %s", name, side);
	if (peer->late)
		return refuse(text, "%s: %" PRIu64 " writes came late on the %s", name, peer->late,
			      side);
	if (!peer->sent || !peer->seen)
		return refuse(text, "%s: no write %s it on the %s", name,
			      peer->sent ? "reached" : "left", side);
	return true;
}

static bool judge_peer(const struct verify *verify, unsigned i, char *text)
{
	const struct verify_device *before = &verify->source.stopped.device[i];
	const struct verify_device *after = &verify->destination.stopped.device[i];
	const struct verify_peer *now = &verify->destination.live.peer[i];

	if (!judge_peer_of("source", before->name, &before->peer, text) ||
	    !judge_peer_of("destination", before->name, &after->peer, text) ||
	    !judge_peer_of("destination", before->name, now, text))
		return false;
	if (before->peer.arrived != before->peer.sent || after->peer.arrived != after->peer.sent ||
	    after->peer.sent != before->peer.sent)
		return refuse(text,
			      "%s: wrote %" PRIu64 ", arrived %" PRIu64 " on the source; %" PRIu64
			      " and %" PRIu64 " on the destination",
			      before->name, before->peer.sent, before->peer.arrived,
			      after->peer.sent, after->peer.arrived);
	if (now->sent <= after->peer.sent)
		return refuse(text, "%s: no new write on the destination", before->name);
	return true;
}

static bool judge_p2p(const struct verify *verify, char *text)
{
	uint64_t writes = 0;
	char count[UNITS_SIZE];
	unsigned i;

	if (!same_devices(verify, text))
		return false;
	for (i = 0; i < verify->source.stopped.devices; i++) {
		if (!judge_peer(verify, i, text))
			return false;
		writes += verify->source.stopped.device[i].peer.sent;
	}
	return accept(text, "%s writes to other devices, and none came late",
		      units_count(count, writes));
}

static bool judge_uart_of(const char *side, const char *name, const struct verify_uart *uart,
			  char *text)
{
	if (!uart->known)
		return refuse(text, "%s: no serial card on the %s", name, side);
	if (uart->lost || uart->doubled)
		return refuse(text, "%s: on the %s %" PRIu64 " bytes lost, %" PRIu64 " doubled",
			      name, side, uart->lost, uart->doubled);
	if (!uart->received)
		return refuse(text, "%s: no byte came back on the %s", name, side);
	return true;
}

static bool judge_uart(const struct verify *verify, char *text)
{
	const struct verify_live *before = &verify->source.live, *after = &verify->destination.live;
	uint64_t flying = 0;
	unsigned i;

	if (!same_devices(verify, text))
		return false;
	for (i = 0; i < verify->source.stopped.devices; i++) {
		const char *name = verify->source.stopped.device[i].name;

		if (!before->uart[i].known && !after->uart[i].known)
			continue;
		if (!judge_uart_of("source", name, &before->uart[i], text) ||
		    !judge_uart_of("destination", name, &after->uart[i], text))
			return false;
		if (after->uart[i].received <= before->uart[i].sent)
			return refuse(text, "%s: no new byte on the destination", name);
		flying += before->uart[i].sent - before->uart[i].received;
	}
	return accept(text, "%" PRIu64 " bytes in flight, none lost, none doubled", flying);
}

static const struct {
	const char *name;
	judge_fn *judge;
} checks[VERIFY_CHECKS] = {
	[VERIFY_MEMORY] = {"memory", judge_memory},
	[VERIFY_DEVICE] = {"device", judge_device},
	[VERIFY_RING] = {"ring", judge_ring},
	[VERIFY_GUEST] = {"guest", judge_guest},
	[VERIFY_HEARTBEAT] = {"heartbeat", judge_heartbeat},
	[VERIFY_P2P] = {"p2p", judge_p2p},
	[VERIFY_UART] = {"uart", judge_uart},
};

static unsigned count_uarts(const struct verify *verify)
{
	unsigned i, count = 0;

	for (i = 0; i < verify->source.live.devices; i++)
		count += verify->source.live.uart[i].known;
	return count;
}

bool verify_asks(const struct verify *verify, enum verify_check check)
{
	unsigned uarts = count_uarts(verify);

	switch (check) {
	case VERIFY_P2P:
		return verify->p2p;
	case VERIFY_UART:
		return uarts;
	case VERIFY_RING:
		return !uarts || uarts < verify->source.live.devices;
	default:
		return true;
	}
}

void verify_judge(struct verify *verify)
{
	unsigned i;

	for (i = 0; i < VERIFY_CHECKS; i++) {
		struct verify_result *result = &verify->result[i];

		if (!verify_asks(verify, i))
			continue;
		result->known = true;
		result->held = checks[i].judge(verify, result->text);
	}
}

bool verify_held(const struct verify *verify)
{
	unsigned i;

	for (i = 0; i < VERIFY_CHECKS; i++)
		if (verify_asks(verify, i) && !verify->result[i].held)
			return false;
	return true;
}

void verify_add_to(const struct verify *verify, struct json_object *report)
{
	struct json_object *verified = json_object_new_object();
	unsigned i;

	for (i = 0; i < VERIFY_CHECKS; i++) {
		if (!verify_asks(verify, i))
			continue;
		json_object_object_add(verified, checks[i].name,
				       verify->result[i].known
					       ? json_object_new_boolean(verify->result[i].held)
					       : NULL);
	}
	json_object_object_add(report, "verified", verified);
}

void verify_print(const struct verify *verify, FILE *out)
{
	unsigned i;

	fputc('\n', out);
	for (i = 0; i < VERIFY_CHECKS; i++)
		if (verify->result[i].known)
			fprintf(out, "  %-10s %-6s %s\n", checks[i].name,
				verify->result[i].held ? "ok" : "FAILED", verify->result[i].text);
}
