/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP as a client sees it, without a socket: bytes into a session, bytes out of it. The VM
 * behind is real (on the thread accelerator), so that commands do what they say.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/qmp.h"

struct fixture {
	struct app app;
	struct qmp_session session;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vmm_config config = {.memory = 16 << 20, .working_set = 1 << 20, .cpus = 1,
				    .dirty_rate = 1 << 20, .accel = "thread", .verify = true};
	char why[VMM_WHY_MAX];

	assert_non_null(f);
	f->app.options.quiet = true;
	f->app.signals = -1;
	assert_int_equal(mailbox_new(&f->app.mailbox), 0);
	assert_int_equal(vmm_new(&config, &f->app.vm, why), 0);
	assert_int_equal(migration_new(&f->app, &f->app.migration), 0);
	assert_int_equal(qmp_session_init(&f->session, &f->app), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	qmp_session_free(&f->session);
	migration_free(f->app.migration);
	vmm_free(f->app.vm);
	mailbox_free(&f->app.mailbox);
	free(f);
	return 0;
}

/* The next line that the session says; NULL: nothing. The caller puts it. */
static struct json_object *next(struct fixture *f)
{
	char *end = f->session.out_size ? memchr(f->session.out, '\n', f->session.out_size) : NULL;
	struct json_object *object;

	if (!end)
		return NULL;
	*end = '\0';
	object = json_tokener_parse(f->session.out);
	qmp_session_sent(&f->session, (size_t)(end - f->session.out) + 1);
	assert_non_null(object);
	return object;
}

static int feed(struct fixture *f, const char *text)
{
	return qmp_session_feed(&f->session, text, strlen(text));
}

/* Say @text and expect one reply with @member at its top; returns the member, to be put. */
static struct json_object *ask(struct fixture *f, const char *text, const char *member)
{
	struct json_object *reply, *value;

	assert_int_equal(feed(f, text), 0);
	reply = next(f);
	assert_non_null(reply);
	if (!json_object_object_get_ex(reply, member, &value))
		fail_msg("%s -> %s", text, json_object_to_json_string(reply));
	json_object_get(value);
	json_object_put(reply);
	assert_null(next(f));
	return value;
}

static void expect_error(struct fixture *f, const char *text, const char *class, const char *part)
{
	struct json_object *error = ask(f, text, "error"), *value;

	assert_true(json_object_object_get_ex(error, "class", &value));
	assert_string_equal(json_object_get_string(value), class);
	assert_true(json_object_object_get_ex(error, "desc", &value));
	if (!strstr(json_object_get_string(value), part))
		fail_msg("%s -> %s", text, json_object_get_string(value));
	json_object_put(error);
}

static void ok(struct fixture *f, const char *text)
{
	json_object_put(ask(f, text, "return"));
}

static void negotiate(struct fixture *f)
{
	json_object_put(next(f));
	ok(f, "{\"execute\":\"qmp_capabilities\"}\n");
}

static void test_greeting(void **state)
{
	struct fixture *f = *state;
	struct json_object *greeting = next(f), *qmp, *value;

	assert_true(json_object_object_get_ex(greeting, "QMP", &qmp));
	assert_true(json_object_object_get_ex(qmp, "version", &value));
	assert_true(json_object_object_get_ex(qmp, "capabilities", &value));
	assert_int_equal(json_object_get_type(value), json_type_array);
	json_object_put(greeting);
	expect_error(f, "{\"execute\":\"query-status\"}", "CommandNotFound", "qmp_capabilities");
	ok(f, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}");
	expect_error(f, "{\"execute\":\"qmp_capabilities\"}", "CommandNotFound", "already");
	ok(f, "{\"execute\":\"query-status\"}");
}

static void test_errors(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	expect_error(f, "{\"execute\":\"no-such\"}", "CommandNotFound", "no-such");
	expect_error(f, "{\"execute\":7}", "GenericError", "string");
	expect_error(f, "{}", "GenericError", "execute");
	expect_error(f, "[]", "GenericError", "object");
	expect_error(f, "{\"execute\":\"stop\",\"x\":1}", "GenericError", "'x'");
	expect_error(f, "{\"execute\":\"stop\",\"arguments\":[]}", "GenericError", "object");
	expect_error(f, "{\"execute\":\"stop\",\"arguments\":{\"a\":1}}", "GenericError", "'a'");
	expect_error(f, "{\"execute\":\"migrate\"}", "GenericError", "'uri' is missing");
	expect_error(f, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":1}}", "GenericError",
		     "'uri'");
	expect_error(f, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:rm\"}}",
		     "GenericError", "expected tcp:HOST:PORT");
	expect_error(f, "{\"execute\":\"x-vfm-report\"}", "GenericError", "no migration");
	expect_error(f, "{\"execute\":\"x-vfm-incoming\"}", "GenericError", "does not wait");
	expect_error(f, "{\"execute\":\"x-vfm-resolve\",\"arguments\":{\"destination-runs\":true}}",
		     "GenericError", "in doubt");
	ok(f, "{\"execute\":\"query-migrate\"}");
	ok(f, "{\"execute\":\"migrate_cancel\"}");
}

static void test_id(void **state)
{
	struct fixture *f = *state;
	struct json_object *id;

	negotiate(f);
	id = ask(f, "{\"execute\":\"query-status\",\"id\":{\"a\":[1]}}", "id");
	assert_string_equal(json_object_to_json_string_ext(id, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":[1]}");
	json_object_put(id);
	id = ask(f, "{\"execute\":\"nonsense\",\"id\":5}", "id");
	assert_int_equal(json_object_get_int(id), 5);
	json_object_put(id);
}

/* A request in single bytes, blanks anywhere. */
static void test_pieces(void **state)
{
	static const char text[] = " \r\n{\"execute\" : \"query-version\" , \"id\" : \"} {\"} \n";
	struct fixture *f = *state;
	unsigned i;

	negotiate(f);
	for (i = 0; text[i]; i++)
		assert_int_equal(qmp_session_feed(&f->session, text + i, 1), 0);
	json_object_put(ask(f, "", "return"));
}

static void test_two_in_one_piece(void **state)
{
	struct fixture *f = *state;
	struct json_object *reply;
	unsigned i;

	negotiate(f);
	assert_int_equal(feed(f, "{\"execute\":\"stop\"}{\"execute\":\"query-status\"}\n"), 0);
	for (i = 0; i < 2; i++) {
		reply = next(f);
		assert_non_null(reply);
		assert_true(json_object_object_get_ex(reply, "return", NULL));
		json_object_put(reply);
	}
	assert_null(next(f));
}

static void test_garbage(void **state)
{
	/* An open string or object goes on in the next line. */
	static const char *const lines[] = {
		"hello\n", "{\"execute\"\n}\n", "}\n", "{\"execute\":'stop'}\n",
		"\"\n\"\n", "nul\n",
		"{\"a\":\"\xff\xfe\"}\n", "{\"execute\":\"stop\",}\n", "-\n", "\x1b[2J\n",
	};
	struct fixture *f = *state;
	struct json_object *reply;
	unsigned i;

	negotiate(f);
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(feed(f, lines[i]), 0);
		reply = next(f);
		assert_non_null(reply);
		for (; reply; reply = next(f)) {
			assert_true(json_object_object_get_ex(reply, "error", NULL));
			json_object_put(reply);
		}
		ok(f, "{\"execute\":\"query-status\"}\n");
	}
	assert_int_equal(qmp_session_feed(&f->session, "\0\0\n", 3), 0);
	while ((reply = next(f)))
		json_object_put(reply);
	ok(f, "{\"execute\":\"query-status\"}\n");
}

/* Depth and length have limits, and so has what a client leaves unread. */
static void test_limits(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(QMP_REQUEST_MAX + 4096);
	int ret = 0;
	unsigned i;

	assert_non_null(text);
	negotiate(f);
	memset(text, '[', 1000);
	text[1000] = '\n';
	text[1001] = '\0';
	expect_error(f, text, "GenericError", "parse");
	ok(f, "{\"execute\":\"query-status\"}\n");
	memset(text, 'x', QMP_REQUEST_MAX + 4095);
	text[0] = '"';
	text[QMP_REQUEST_MAX + 4095] = '\0';
	assert_int_equal(feed(f, text), -EMSGSIZE);
	qmp_session_free(&f->session);
	assert_int_equal(qmp_session_init(&f->session, &f->app), 0);
	negotiate(f);
	for (i = 0; !ret && i < 1000000; i++)
		ret = feed(f, "{\"execute\":\"query-commands\"}\n");
	assert_int_equal(ret, -ENOBUFS);
	free(text);
}

static void expect_status(struct fixture *f, bool running, const char *status)
{
	struct json_object *reply = ask(f, "{\"execute\":\"query-status\"}", "return"), *value;

	assert_true(json_object_object_get_ex(reply, "running", &value));
	assert_int_equal(json_object_get_boolean(value), running);
	assert_true(json_object_object_get_ex(reply, "status", &value));
	assert_string_equal(json_object_get_string(value), status);
	json_object_put(reply);
}

#define INCOMING(uri) "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"" uri "\"}}"

static void test_stop_and_cont(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	expect_status(f, false, "paused");
	ok(f, "{\"execute\":\"cont\"}");
	expect_status(f, true, "running");
	expect_error(f, INCOMING("tcp:127.0.0.1:0"), "GenericError", "is here");
	ok(f, "{\"execute\":\"cont\"}");
	ok(f, "{\"execute\":\"stop\"}");
	ok(f, "{\"execute\":\"stop\"}");
	expect_status(f, false, "paused");
	vmm_hold(f->app.vm, VMM_HOLD_GIVEN);
	expect_error(f, "{\"execute\":\"cont\"}", "GenericError", "given");
	expect_status(f, false, "postmigrate");
	expect_error(f, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:1\"}}",
		     "GenericError", "given");
	expect_error(f, INCOMING("nowhere"), "GenericError", "nowhere");
	expect_status(f, false, "postmigrate");
	assert_false(f->app.quit);
	ok(f, "{\"execute\":\"quit\"}");
	assert_true(f->app.quit);
}

static void expect_parameter(struct fixture *f, const char *name, const char *text)
{
	struct json_object *reply = ask(f, "{\"execute\":\"query-migrate-parameters\"}", "return");
	struct json_object *value;

	assert_true(json_object_object_get_ex(reply, name, &value));
	assert_string_equal(json_object_get_string(value), text);
	json_object_put(reply);
}

#define SET(text) "{\"execute\":\"migrate-set-parameters\",\"arguments\":{" text "}}"

static void test_parameters(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	expect_parameter(f, "downtime-limit", "300");
	expect_parameter(f, "max-bandwidth", "0");
	ok(f, SET("\"downtime-limit\":50,\"max-bandwidth\":1000000"));
	expect_parameter(f, "downtime-limit", "50");
	expect_parameter(f, "max-bandwidth", "1000000");
	ok(f, SET("\"downtime-limit\":\"unlimited\",\"max-bandwidth\":0"));
	expect_parameter(f, "downtime-limit", "unlimited");
	assert_true(migration_options(f->app.migration)->downtime_limit_ns == VFM_UNLIMITED);
	assert_true(migration_options(f->app.migration)->max_bandwidth == VFM_UNLIMITED);
	ok(f, SET("\"downtime-limit\":100"));
	ok(f, SET("\"downtime-limit\":9223372036854775807"));
	expect_parameter(f, "downtime-limit", "unlimited");
	ok(f, SET("\"x-vfm-device-chunk\":65536"));
	expect_parameter(f, "x-vfm-device-chunk", "65536");
	expect_error(f, SET("\"downtime-limit\":-1"), "GenericError", "downtime-limit");
	expect_error(f, SET("\"downtime-limit\":0"), "GenericError", "downtime-limit");
	expect_error(f, SET("\"downtime-limit\":\"soon\""), "GenericError", "unlimited");
	expect_error(f, SET("\"downtime-limit\":1.5"), "GenericError", "downtime-limit");
	expect_error(f, SET("\"x-vfm-device-chunk\":5000"), "GenericError", "4096");
	expect_error(f, SET("\"no-such\":1"), "GenericError", "no-such");
	/* all or nothing */
	expect_error(f, SET("\"max-bandwidth\":5,\"x-vfm-device-chunk\":1"), "GenericError",
		     "device-chunk");
	expect_parameter(f, "max-bandwidth", "0");
}

static void test_parameters_of_the_switchover(void **state)
{
	struct fixture *f = *state;
	const struct vfm_options *options = migration_options(f->app.migration);

	negotiate(f);
	expect_parameter(f, "x-vfm-switchover-ack", "per-device");
	expect_parameter(f, "x-vfm-profile", "arcs");
	expect_parameter(f, "x-vfm-parallel-transitions", "true");
	ok(f, SET("\"x-vfm-switchover-ack\":\"legacy\",\"x-vfm-profile\":\"legacy\""));
	expect_parameter(f, "x-vfm-switchover-ack", "legacy");
	expect_parameter(f, "x-vfm-profile", "legacy");
	assert_int_equal(options->switchover_ack, VFM_ACK_LEGACY);
	assert_int_equal(options->profile, VFM_PROFILE_LEGACY);
	ok(f, SET("\"x-vfm-profile\":2,\"x-vfm-switchover-ack\":\"off\""));
	assert_int_equal(options->profile, VFM_PROFILE_REINIT);
	assert_int_equal(options->switchover_ack, VFM_ACK_OFF);
	ok(f, SET("\"x-vfm-parallel-transitions\":false"));
	assert_int_equal(options->serial_transitions, 1);
	ok(f, SET("\"x-vfm-parallel-transitions\":\"on\""));
	assert_int_equal(options->serial_transitions, 0);
	ok(f, SET("\"x-vfm-max-switchover-attempts\":3,\"x-vfm-transition-estimate\":7"));
	assert_int_equal(options->max_switchover_attempts, 3);
	assert_true(options->transition_estimate_ns == 7000000);
	ok(f, SET("\"x-vfm-max-rounds\":9,\"x-vfm-timeout\":1000"));
	expect_parameter(f, "x-vfm-max-rounds", "9");
	assert_true(options->timeout_ns == 1000000000);
	expect_error(f, SET("\"x-vfm-switchover-ack\":true"), "GenericError", "switchover-ack");
	expect_error(f, SET("\"x-vfm-switchover-ack\":\"on\""), "GenericError", "per-device");
	expect_error(f, SET("\"x-vfm-profile\":5"), "GenericError", "profile");
	expect_error(f, SET("\"x-vfm-profile\":null"), "GenericError", "profile");
	expect_error(f, SET("\"x-vfm-parallel-transitions\":\"both\""), "GenericError",
		     "on or off");
	expect_error(f, SET("\"x-vfm-max-switchover-attempts\":0"), "GenericError", "attempts");
}

/* Nobody listens there: the command is taken, the migration fails, the guest runs on. */
static void test_migrate_to_nobody(void **state)
{
	struct fixture *f = *state;
	struct json_object *reply, *value;
	struct pollfd fd = {.fd = f->app.mailbox.fd, .events = POLLIN};
	struct mail *mail;

	negotiate(f);
	ok(f, "{\"execute\":\"cont\"}");
	ok(f, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/nonexistent/socket\"}}");
	expect_error(f, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/x\"}}",
		     "GenericError", "in progress");
	assert_int_equal(poll(&fd, 1, 20000), 1);
	mail = mailbox_take(&f->app.mailbox);
	assert_non_null(mail);
	migration_mail(f->app.migration, mail);
	free(mail);
	reply = ask(f, "{\"execute\":\"query-migrate\"}", "return");
	assert_true(json_object_object_get_ex(reply, "status", &value));
	assert_string_equal(json_object_get_string(value), "failed");
	assert_true(json_object_object_get_ex(reply, "error-desc", &value));
	json_object_put(reply);
	reply = ask(f, "{\"execute\":\"x-vfm-report\"}", "return");
	assert_true(json_object_object_get_ex(reply, "status", &value));
	assert_string_equal(json_object_get_string(value), "failed");
	assert_true(json_object_object_get_ex(reply, "error", &value));
	assert_int_equal(json_object_get_type(value), json_type_object);
	json_object_put(reply);
	expect_status(f, true, "running");
}

static void test_verify(void **state)
{
	struct fixture *f = *state;
	struct json_object *reply, *value;

	negotiate(f);
	reply = ask(f, "{\"execute\":\"x-vfm-verify\"}", "return");
	assert_true(json_object_object_get_ex(reply, "stopped", &value));
	assert_null(value);
	json_object_put(reply);
	assert_int_equal(inspect_vm(f->app.vm), 0);
	reply = ask(f, "{\"execute\":\"x-vfm-verify\"}", "return");
	assert_true(json_object_object_get_ex(reply, "stopped", &value));
	assert_true(json_object_object_get_ex(value, "memory", &value));
	assert_int_equal(json_object_get_string_len(value), 16);
	json_object_put(reply);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(test_greeting),
		ROW(test_errors),
		ROW(test_id),
		ROW(test_pieces),
		ROW(test_two_in_one_piece),
		ROW(test_garbage),
		ROW(test_limits),
		ROW(test_stop_and_cont),
		ROW(test_parameters),
		ROW(test_parameters_of_the_switchover),
		ROW(test_migrate_to_nobody),
		ROW(test_verify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
