/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wrong peer: a VM that does not fit is refused before any data moved, with every reason, and
 * whatever else comes to the listening port is sent away with a reason in the log. The destination
 * goes on waiting, and takes the right peer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-migrate/connect.h>

#include "cli/field.h"
#include "tests/scene.h"
#include "wire/wire.h"

#define CLOSED      "a connection was closed: "
#define SCANS       100
#define REASONS_MAX 8

/* ---- a VM that does not fit ---- */

static const struct misfit {
	const char *name;
	uint64_t memory;    /* of the destination, 0: the same */
	const char *device; /* its name there, as of struct lab_config */
	const char *reasons[REASONS_MAX]; /* each a part of one, and there are no others */
} misfits[] = {
	{"other_memory", 64 << 20, NULL, {"memory ram-low: 33554432 bytes on the source, 67108864 here"}},
	{"other_device", 0, "net0",
	 {"device net0: the source has none of that name",
	  "device " LAB_DEVICE ": there is none of that name here"}},
	{"no_device", 0, "", {"device " LAB_DEVICE ": there is none of that name here"}},
	{"other_memory_and_device", 64 << 20, "net0",
	 {"memory ram-low: ", "device net0: the source has none",
	  "device " LAB_DEVICE ": there is none"}},
	{"other_memory_and_no_device", 16 << 20, "", {"memory ram-low: ", "device " LAB_DEVICE}},
};

static bool has_reason(struct json_object *reasons, const char *part)
{
	size_t i;

	for (i = 0; i < json_object_array_length(reasons); i++)
		if (strstr(json_object_get_string(json_object_array_get_idx(reasons, i)), part))
			return true;
	print_error("\"%s\" is not in:\n%s\n", part, json_object_to_json_string(reasons));
	return false;
}

static void expect_reasons(struct json_object *report, const struct misfit *m)
{
	struct json_object *reasons = field_find(report, "reasons");
	size_t count;

	assert_true(json_object_is_type(reasons, json_type_array));
	for (count = 0; count < REASONS_MAX && m->reasons[count]; count++) {
		assert_true(has_reason(reasons, m->reasons[count]));
		scene_expect_said(LAB_DESTINATION, m->reasons[count]);
	}
	assert_int_equal(json_object_array_length(reasons), count);
}

static void does_not_fit(void **state)
{
	const struct misfit *m = *state;
	struct lab_config config = scene_config();
	struct json_object *report;

	config.other_memory = m->memory;
	config.other_device = m->device;
	scene_start(&config);
	scene_migrate(scene.address, 0);
	report = scene_expect_end("failed");
	expect_reasons(report, m);
	assert_string_equal(field_text(report, "error.stage", ""), "describe");
	assert_int_equal(field_u64(report, "memory.sent_bytes", 1), 0);
	scene_expect_waiting();
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
}

/* ---- what is no VM at all ---- */

static void start(void)
{
	struct lab_config config = scene_config();

	scene_start(&config);
}

static int connect_to_it(void)
{
	char why[256] = "";
	int fd = vfm_connect(scene.address, SCENE_WAIT_MS, why, sizeof(why));

	if (fd < 0)
		print_error("%s\n", why);
	assert_true(fd >= 0);
	return fd;
}

/* It hangs up, whatever it says before that. */
static void expect_hang_up(int fd)
{
	struct timeval patience = {.tv_sec = SCENE_WAIT_MS / 1000};
	char heard[4096];
	ssize_t n;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	do
		n = recv(fd, heard, sizeof(heard), 0);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
	close(fd);
}

static void say(int fd, const void *data, size_t size)
{
	assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
}

static void garbage(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: destination\r\nUser-Agent: scanner\r\n\r\n";
	uint8_t noise[4096];
	int fd;

	start();
	fd = connect_to_it();
	say(fd, http, sizeof(http) - 1);
	expect_hang_up(fd);
	scene_expect_said(LAB_DESTINATION, CLOSED "it does not speak this protocol");
	assert_int_equal(getrandom(noise, sizeof(noise), 0), sizeof(noise));
	noise[0] = 0xff; /* not by chance what is wanted */
	fd = connect_to_it();
	say(fd, noise, sizeof(noise));
	expect_hang_up(fd);
	scene_expect_waiting();
	scene_expect_arrival();
	assert_int_equal(scene_count_said(LAB_DESTINATION, CLOSED), 2);
}

static void a_frame_that_is_no_hello(void **state)
{
	struct wire_header header = {.type = WIRE_COMMIT};
	uint8_t frame[WIRE_HEADER_SIZE];
	int fd;

	start();
	wire_put_header(frame, &header, NULL);
	fd = connect_to_it();
	say(fd, frame, sizeof(frame));
	expect_hang_up(fd);
	scene_expect_said(LAB_DESTINATION, CLOSED "it did not begin with a hello");
	scene_expect_waiting();
	scene_expect_arrival();
}

/* Come and go. Each is told, since each may be the peer of somebody who then asks why. */
static void a_port_scanner(void **state)
{
	unsigned i;

	start();
	for (i = 0; i < SCANS; i++)
		close(connect_to_it());
	scene_expect_said(LAB_DESTINATION, CLOSED "it ended before its hello");
	scene_expect_arrival();
	assert_int_equal(scene_count_said(LAB_DESTINATION, CLOSED), SCANS);
}

/* More that say nothing than there is room for: the oldest go, and the right peer comes in. */
static void half_open_connections(void **state)
{
	int fds[VFM_STRANGERS_MAX + 4];
	unsigned i;

	start();
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = connect_to_it();
	say(fds[ARRAY_SIZE(fds) - 1], "VM", 2); /* one stops in the middle of a word */
	expect_hang_up(fds[0]);
	scene_expect_said(LAB_DESTINATION, CLOSED "too many");
	scene_expect_waiting();
	scene_expect_arrival();
	for (i = 1; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void say_hello(int fd)
{
	struct wire_hello hello = {.version = WIRE_VERSION,
				   .version_low = WIRE_VERSION_LOW,
				   .intent = WIRE_INTENT_MIGRATE};
	struct wire_header header = {.type = WIRE_HELLO};
	uint8_t head[256], frame[WIRE_HEADER_SIZE + sizeof(head)];

	header.head = (uint32_t)wire_put_hello(head, &hello);
	wire_put_header(frame, &header, head);
	memcpy(frame + WIRE_HEADER_SIZE, head, header.head);
	say(fd, frame, WIRE_HEADER_SIZE + header.head);
}

/* Ten seconds are what a stranger gets before a hello, and ten more before a description. */
static void silence(void **state)
{
	int mute, polite;

	start();
	mute = connect_to_it();
	polite = connect_to_it();
	say_hello(polite);
	expect_hang_up(mute);
	expect_hang_up(polite);
	scene_expect_said(LAB_DESTINATION, CLOSED "it said nothing for too long");
	scene_expect_said(LAB_DESTINATION, "a peer was sent away: ");
	scene_expect_waiting();
	scene_expect_arrival();
}

/* While one migration runs, strangers and a second source are told that it does. */
static void strangers_during_a_migration(void **state)
{
	int silent, fd;

	start();
	scene_migrate_endlessly();
	scene_await_stage(LAB_DESTINATION, VFM_STAGE_PRECOPY);
	silent = connect_to_it();
	fd = connect_to_it();
	say(fd, "nonsense that is as long as a header at least", 40);
	expect_hang_up(fd);
	scene_set("downtime-limit", 60000);
	scene_set("max-bandwidth", 0);
	scene_expect_end("completed");
	scene_expect_guest(LAB_DESTINATION);
	scene_expect_device(LAB_DESTINATION);
	close(silent);
}

#define MISFIT(i) {misfits[i].name, does_not_fit, NULL, scene_stop, (void *)&misfits[i]}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MISFIT(0),
		MISFIT(1),
		MISFIT(2),
		MISFIT(3),
		MISFIT(4),
		cmocka_unit_test_teardown(garbage, scene_stop),
		cmocka_unit_test_teardown(a_frame_that_is_no_hello, scene_stop),
		cmocka_unit_test_teardown(a_port_scanner, scene_stop),
		cmocka_unit_test_teardown(half_open_connections, scene_stop),
		cmocka_unit_test_teardown(silence, scene_stop),
		cmocka_unit_test_teardown(strangers_during_a_migration, scene_stop),
	};

	return cmocka_run_group_tests(tests, scene_open, NULL);
}
