/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the program vfio-migrate that need no VM. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cli/field.h"
#include "cli/options.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/qmp-client.h"
#include "cli/table.h"
#include "cli/units.h"

#define WAIT_MS 20000

static char dir[64];

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/test-cli-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/qmp", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/log", dir);
	unlink(path);
	return rmdir(dir);
}

/* Units */

static void units_keep_three_digits(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.00 KiB"},
		{1023 * 1024, "1.00 MiB"},
		{64 << 20, "64.0 MiB"},
		{UINT64_C(5) << 29, "2.50 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char buffer[UNITS_SIZE];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(units_bytes(buffer, cases[i].bytes), cases[i].text);
	assert_string_equal(units_ms(buffer, -1), "-");
	assert_string_equal(units_ms(buffer, 0.1254), "0.125 ms");
	assert_string_equal(units_ms(buffer, 31.44), "31.4 ms");
	assert_string_equal(units_ms(buffer, 2345), "2.35 s");
	assert_string_equal(units_count(buffer, 65536), "65,536");
	assert_string_equal(units_count(buffer, 999), "999");
	assert_string_equal(units_count(buffer, UINT64_MAX), "18,446,744,073,709,551,615");
}

/* Progress */

static const struct vfm_progress sample = {
	.stage = VFM_STAGE_PRECOPY,
	.round = 3,
	.memory_total = 64 << 20,
	.memory_left = 12 << 20,
	.device_left = 4 << 20,
	.bandwidth = 812 << 20,
	.dirty_rate = 40 << 20,
	.predicted_downtime_ns = 31400000,
};

static void progress_shows_every_number_in_80_columns(void **state)
{
	char line[PROGRESS_LINE_MAX];

	progress_format(line, &sample, 79);
	assert_string_equal(line, "pre-copy  3  mem 12.0 MiB  dev 4.00 MiB  812 MiB/s  "
				  "dirty 40.0 MiB/s  ~31.4 ms");
	progress_format(line, &sample, 200);
	assert_non_null(strstr(line, "memory left 12.0 MiB"));
	assert_non_null(strstr(line, "downtime ~31.4 ms"));
}

/* Of what is not there nothing is shown, not even zeroes. */
static void progress_of_devices_alone_has_no_memory(void **state)
{
	struct vfm_progress numbers = sample;
	char line[PROGRESS_LINE_MAX];

	numbers.memory_total = numbers.memory_left = numbers.dirty_rate = 0;
	progress_format(line, &numbers, 79);
	assert_string_equal(line, "pre-copy  3  dev 4.00 MiB  812 MiB/s  ~31.4 ms");
}

/* The reason has a place, whatever has to go for it. */
static void progress_tells_why_it_waits(void **state)
{
	struct vfm_progress numbers = sample;
	char line[PROGRESS_LINE_MAX];

	strcpy(numbers.waiting_for,
	       "predicted downtime 31.400 ms is above the limit, mostly state of dev0");
	progress_format(line, &numbers, 79);
	assert_non_null(strstr(line, "  mostly state of dev0"));
	assert_non_null(strstr(line, "~31.4 ms"));
	assert_true(strlen(line) <= 79);
	strcpy(numbers.waiting_for, "2 acks are pending, the first of dev0");
	progress_format(line, &numbers, 131);
	assert_non_null(strstr(line, "  2 acks are pending, the first of dev0"));
	numbers.stage = VFM_STAGE_STOP;
	progress_format(line, &numbers, 131);
	assert_null(strstr(line, "acks"));
}

static void progress_never_exceeds_the_width(void **state)
{
	char line[PROGRESS_LINE_MAX];
	unsigned width;

	for (width = 1; width < PROGRESS_LINE_MAX; width++) {
		progress_format(line, &sample, width);
		assert_in_range(strlen(line), 1, width);
	}
	progress_format(line, &sample, 30);
	assert_string_equal(line, "pre-copy  3  ~31.4 ms");
}

static void progress_unknown_is_not_zero(void **state)
{
	struct vfm_progress numbers = sample;
	char line[PROGRESS_LINE_MAX];

	numbers.predicted_downtime_ns = VFM_SIZE_UNKNOWN;
	numbers.device_unknown = 1;
	numbers.round = 1;
	progress_format(line, &numbers, 200);
	assert_string_equal(line, "pre-copy  round 1  memory left 12.0 MiB  "
				  "device left 4.00 MiB+?  812 MiB/s");
	numbers.bandwidth = 0;
	numbers.memory_left = 0;
	progress_format(line, &numbers, 200);
	assert_string_equal(line, "pre-copy  round 1");
}

/* Long before there is a bandwidth. */
static void progress_shows_memory_in_the_first_round(void **state)
{
	const struct vfm_progress numbers = {
		.stage = VFM_STAGE_PRECOPY,
		.round = 1,
		.memory_left = 200 << 20,
		.memory_sent = 56 << 20,
		.predicted_downtime_ns = VFM_SIZE_UNKNOWN,
		.waiting_for = "the bandwidth is not known yet",
	};
	char line[PROGRESS_LINE_MAX];

	progress_format(line, &numbers, 79);
	assert_string_equal(line, "pre-copy  1  mem 200 MiB  sent 56.0 MiB  "
				  "the bandwidth is not known yet");
}

static void progress_has_no_codes_off_a_terminal(void **state)
{
	struct vfm_progress numbers = sample;
	struct progress progress;
	char *text = NULL, *line;
	size_t size;
	FILE *out = tmpfile();

	assert_non_null(out);
	progress_init(&progress, out);
	progress_show(&progress, &numbers);
	progress_show(&progress, &numbers); /* no news: no line */
	numbers.round = 7;
	progress_show(&progress, &numbers); /* news, but too soon */
	numbers.round = 4;
	numbers.elapsed_ns += 1000000000;
	progress_show(&progress, &numbers);
	progress_end(&progress);
	rewind(out);
	size = 4096;
	text = malloc(size);
	assert_non_null(text);
	size = fread(text, 1, size - 1, out);
	text[size] = '\0';
	assert_null(strpbrk(text, "\r\033"));
	line = strchr(text, '\n');
	assert_non_null(line);
	assert_non_null(strstr(line, "round 4"));
	assert_ptr_equal(strrchr(text, '\n'), strchr(line + 1, '\n'));
	free(text);
	fclose(out);
}

/* Table */

static const char report_text[] =
	"{\"status\":\"completed\",\"error\":null,\"total_ms\":1234.567,\"downtime_ms\":40.000,"
	"\"predicted_downtime_ms\":36.000,\"rounds\":4,"
	"\"downtime_terms\":{\"stop_ms\":10.000,\"state_ms\":20.000,\"memory_ms\":5.000,"
	"\"load_ms\":4.000,\"handover_ms\":1.000},"
	"\"predicted_terms\":{\"stop_ms\":9.000,\"state_ms\":18.000,\"memory_ms\":5.000,"
	"\"load_ms\":3.000,\"handover_ms\":1.000},"
	"\"memory\":{\"total_bytes\":268435456,\"sent_bytes\":1048576,\"zero_pages\":65280,"
	"\"pages\":65536},\"devices\":[{\"name\":\"dev0\",\"precopy_bytes\":67108864,"
	"\"stopcopy_bytes\":1048576,\"load_ms\":2.500,\"arcs\":[{\"side\":\"source\","
	"\"from\":\"PRE_COPY\",\"to\":\"PRE_COPY_P2P\",\"ms\":0.125}]}]}";

static char *print_table(const char *text, double limit_ms)
{
	struct json_object *report = json_tokener_parse(text);
	char *printed = NULL;
	size_t size;
	FILE *out = open_memstream(&printed, &size);

	assert_non_null(report);
	assert_non_null(out);
	table_print(out, report, limit_ms);
	fclose(out);
	json_object_put(report);
	return printed;
}

static void table_fits_and_has_both_columns(void **state)
{
	char *text = print_table(report_text, 300), *line, *save = NULL;

	assert_non_null(strstr(text, "device and VM state           18.0 ms     20.0 ms  "
				     "############\n"));
	assert_non_null(strstr(text, "downtime                      36.0 ms     40.0 ms  "
				     "limit 300 ms\n"));
	assert_non_null(strstr(text, "memory  256 MiB guest; 1.00 MiB sent in 256 pages; 65,280 "
				     "more were all zero\n"));
	assert_non_null(strstr(text, "PRE_COPY -> PRE_COPY_P2P"));
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		assert_in_range(strlen(line), 0, 80);
	free(text);
}

static void table_tells_the_error(void **state)
{
	char *text = print_table("{\"status\":\"failed\",\"error\":{\"stage\":\"prepare\","
				 "\"device\":\"dev0\",\"errno\":14,\"text\":\"RESUMING to STOP "
				 "failed\"},\"downtime_ms\":null}", -1);

	assert_non_null(strstr(text, "stage prepare, device dev0: RESUMING to STOP failed "
				     "(Bad address)"));
	assert_null(strstr(text, "where the downtime went"));
	free(text);
}

static void table_says_a_cause_once(void **state)
{
	char *text = print_table("{\"status\":\"failed\",\"error\":{\"stage\":\"hello\","
				 "\"errno\":111,\"text\":\"h port 1: Connection refused\"},"
				 "\"memory\":{\"total_bytes\":4096,\"pages\":0}}", -1);

	assert_non_null(strstr(text, "h port 1: Connection refused: does anybody wait there?\n"));
	assert_null(strstr(text, "memory"));
	free(text);
	text = print_table("{\"status\":\"failed\",\"error\":{\"stage\":\"stop\","
			   "\"errno\":5,\"text\":\"it says Input/output error\"}}", -1);
	assert_non_null(strstr(text, "it says Input/output error\n"));
	free(text);
}

static void table_counts_one_and_many(void **state)
{
	char *text = print_table("{\"memory\":{\"total_bytes\":8192,\"sent_bytes\":4096,"
				 "\"zero_pages\":1,\"pages\":2},\"rounds\":1}", -1);

	assert_non_null(strstr(text, " 1 round: "));
	assert_non_null(strstr(text, "sent in 1 page; 1 more was all zero\n"));
	free(text);
}

/* What a destination does not know, and what never happened, is no zero. */
static void table_shows_what_is_not_known(void **state)
{
	char *text = print_table("{\"side\":\"destination\",\"devices\":[{\"name\":\"dev0\","
				 "\"precopy_bytes\":null,\"stopcopy_bytes\":null,"
				 "\"load_ms\":2.5,\"acks\":null,\"reinits\":null,\"arcs\":[]}]}", -1);

	assert_non_null(strstr(text, "  dev0                     -         -  "
				     "2.50 ms        -        -    -       -\n"));
	free(text);
}

/* Reports come from another process: any shape may be inside. */
static void table_survives_a_strange_report(void **state)
{
	static const char *const texts[] = {
		"{}",
		"{\"status\":7,\"error\":\"x\",\"devices\":{},\"memory\":[]}",
		"{\"devices\":[null,1,{\"arcs\":[null,\"x\"]}],\"downtime_ms\":1e300}",
		"{\"downtime_ms\":10,\"downtime_terms\":{\"stop_ms\":1e99}}",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(texts); i++)
		free(print_table(texts[i], 300));
}

/* QMP */

struct server {
	pthread_t thread;
	int listener;
	const char *const *script; /* after a line was read, the next text is sent */
	char seen[512];
};

static void *serve(void *opaque)
{
	struct server *server = opaque;
	int fd = accept(server->listener, NULL, NULL);
	const char *const *text = server->script;
	FILE *in = fdopen(fd, "r");
	char line[512];

	while (*text) {
		if (send(fd, *text, strlen(*text), MSG_NOSIGNAL) < 0)
			break;
		text++;
		if (*text && !fgets(line, sizeof(line), in))
			break;
		if (*text)
			strcpy(server->seen, line);
	}
	fclose(in);
	return NULL;
}

static void start_server(struct server *server, const char *const *script,
			 char path[sizeof(((struct sockaddr_un *)0)->sun_path)])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/qmp", dir);
	strcpy(path, address.sun_path);
	unlink(path);
	*server = (struct server){.script = script};
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(server->listener >= 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void stop_server(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->listener);
}

#define GREETING "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n"

static void qmp_commands_events_and_errors(void **state)
{
	static const char *const script[] = {
		GREETING,
		"{\"event\":\"EARLY\"}\n{\"return\":{}}\n",
		"{\"return\":{\"status\":\"running\"}}\n",
		"{\"event\":\"STOP\"}\n{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\n",
		NULL,
	};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)], why[QMP_CLIENT_WHY_MAX];
	struct json_object *object, *arguments = json_object_new_object();
	struct qmp_client *client;
	struct server server;

	start_server(&server, script, path);
	assert_int_equal(qmp_client_connect(path, WAIT_MS, &client, why), 0);
	assert_int_equal(qmp_client_execute(client, "query-status", NULL, WAIT_MS, &object), 0);
	assert_string_equal(field_text(object, "status", ""), "running");
	json_object_put(object);
	json_object_object_add(arguments, "uri", json_object_new_string("tcp:x:1"));
	assert_int_equal(qmp_client_execute(client, "migrate", arguments, WAIT_MS, &object),
			 -EREMOTEIO);
	assert_null(object);
	assert_string_equal(qmp_client_why(client), "no");
	assert_string_equal(server.seen, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":"
					 "\"tcp:x:1\"}}\n");
	assert_int_equal(qmp_client_event(client, WAIT_MS, &object), 0);
	assert_string_equal(field_text(object, "event", ""), "EARLY");
	json_object_put(object);
	assert_int_equal(qmp_client_event(client, WAIT_MS, &object), 0);
	assert_string_equal(field_text(object, "event", ""), "STOP");
	json_object_put(object);
	assert_int_equal(qmp_client_event(client, WAIT_MS, &object), -ECONNRESET);
	qmp_client_free(client);
	stop_server(&server);
}

static void qmp_refuses_what_is_not_qmp(void **state)
{
	static const char *const scripts[][2] = {
		{"HTTP/1.0 400 Bad Request\n", NULL},
		{"[1]\n", NULL},
		{"{\"hello\":1}\n", NULL},
		{"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", NULL},
		{"{\"QMP\":{}}", NULL}, /* cut short */
	};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)], why[QMP_CLIENT_WHY_MAX];
	struct qmp_client *client;
	struct server server;
	size_t i;
	int rc;

	for (i = 0; i < ARRAY_SIZE(scripts); i++) {
		start_server(&server, scripts[i], path);
		rc = qmp_client_connect(path, WAIT_MS, &client, why);
		assert_int_equal(rc, i == 4 ? -ECONNRESET : -EPROTO);
		assert_null(client);
		assert_int_not_equal(strlen(why), 0);
		stop_server(&server);
	}
}

static void qmp_bounds_a_line(void **state)
{
	char *flood = malloc(QMP_CLIENT_LINE_MAX + 2);
	const char *const script[] = {flood, NULL};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)], why[QMP_CLIENT_WHY_MAX];
	struct qmp_client *client;
	struct server server;

	assert_non_null(flood);
	memset(flood, ' ', QMP_CLIENT_LINE_MAX + 1);
	flood[QMP_CLIENT_LINE_MAX + 1] = '\0';
	start_server(&server, script, path);
	assert_int_equal(qmp_client_connect(path, WAIT_MS, &client, why), -EMSGSIZE);
	stop_server(&server);
	free(flood);
}

static void qmp_waits_no_longer_than_told(void **state)
{
	static const char *const script[] = {"", "", NULL}; /* says nothing, waits for a line */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)], why[QMP_CLIENT_WHY_MAX];
	struct qmp_client *client;
	struct server server;

	start_server(&server, script, path);
	assert_int_equal(qmp_client_connect(path, 50, &client, why), -ETIMEDOUT);
	stop_server(&server);
	assert_int_equal(qmp_client_connect("/nowhere/at/all", 50, &client, why), -ENOENT);
	assert_int_equal(qmp_client_connect("", 50, &client, why), -EINVAL);
}

/* Processes */

static char *const shell_fails[] = {(char *)"/bin/sh", (char *)"-c",
				    (char *)"echo one; echo two >&2; exit 3", NULL};
static char *const shell_sleeps[] = {(char *)"/bin/sleep", (char *)"60", NULL};
static char *const nothing[] = {(char *)"/nowhere/at/all", NULL};

static void process_status_and_log(void **state)
{
	struct process process = {.pid = 0};
	char log[96], text[64], *shown = NULL;
	size_t size;
	FILE *out;

	snprintf(log, sizeof(log), "%s/log", dir);
	assert_int_equal(process_spawn(&process, "shell", log, shell_fails), 0);
	assert_int_equal(process_wait(&process, WAIT_MS), 0);
	assert_string_equal(process_describe(&process, text, sizeof(text)), "exit status 3");
	out = open_memstream(&shown, &size);
	process_show_log(&process, 1, out);
	fflush(out);
	assert_string_equal(shown, "  shell: two\n");
	rewind(out);
	process_show_log(&process, 5, out);
	fclose(out);
	assert_string_equal(shown, "  shell: one\n  shell: two\n");
	free(shown);
	assert_int_equal(process_spawn(&process, "nothing", log, nothing), -ENOENT);
	process_stop(&process, 0);
}

static void process_stops(void **state)
{
	struct process process = {.pid = 0};
	char log[96], text[64];

	snprintf(log, sizeof(log), "%s/log", dir);
	process_stop(&process, 0);
	assert_int_equal(process_spawn(&process, "sleep", log, shell_sleeps), 0);
	assert_int_equal(process_wait(&process, 0), -ETIMEDOUT);
	assert_string_equal(process_describe(&process, text, sizeof(text)), "still running");
	process_stop(&process, WAIT_MS);
	assert_string_equal(process_describe(&process, text, sizeof(text)), "killed by signal 15");
}

/* The middle process is killed without a chance to clean up; its child must be gone as well. */
static void process_dies_with_its_parent(void **state)
{
	struct process process = {.pid = 0};
	int ends[2], status;
	pid_t parent, child;
	char log[96], byte;

	snprintf(log, sizeof(log), "%s/log", dir);
	assert_int_equal(pipe(ends), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (!parent) {
		/* The child inherits the pipe's end: it is open for as long as one of them lives. */
		close(ends[0]);
		if (process_spawn(&process, "sleep", log, shell_sleeps) ||
		    write(ends[1], &process.pid, sizeof(process.pid)) != sizeof(process.pid))
			_exit(1);
		pause();
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &child, sizeof(child)), sizeof(child));
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

/* Options */

struct target {
	uint64_t size;
	uint64_t limit;
	uint32_t count;
	unsigned word;
	const char *text;
	bool flag;
	const char *args[1];
};

static const char *const words[] = {"red", "blue", NULL};
static const struct option_row rows[] = {
	{"size", 's', OPTION_SIZE, offsetof(struct target, size), 1, 1 << 20, "SIZE", "h", NULL},
	{"limit", 0, OPTION_DURATION, offsetof(struct target, limit), 0, UINT64_MAX, "MS", "h", NULL},
	{"count", 0, OPTION_U32, offsetof(struct target, count), 1, 9, "N", "h", NULL},
	{"word", 0, OPTION_WORD, offsetof(struct target, word), 0, 0, "WORD", "h", words},
	{"text", 0, OPTION_TEXT, offsetof(struct target, text), 0, 0, "TEXT", "h", NULL},
	{"flag", 'f', OPTION_FLAG, offsetof(struct target, flag), 0, 0, NULL, NULL, NULL},
};
static const struct options options = {"THING", "A test.", rows, ARRAY_SIZE(rows), 1,
				       offsetof(struct target, args)};

/* What options_parse says on standard error is read back. */
static int parse(struct target *target, char *said, size_t room, char **argv)
{
	int argc = 0, saved = dup(STDERR_FILENO), rc;
	FILE *file = tmpfile();

	while (argv[argc])
		argc++;
	assert_true(file && saved >= 0);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	rc = options_parse(&options, argc, argv, target);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	said[fread(said, 1, room - 1, file)] = '\0';
	fclose(file);
	return rc;
}

static void options_fill_the_struct(void **state)
{
	char *argv[] = {(char *)"prog", (char *)"-s", (char *)"4K", (char *)"thing",
			(char *)"--limit=unlimited", (char *)"--count", (char *)"7",
			(char *)"--word=blue", (char *)"--text", (char *)"x", (char *)"--flag", NULL};
	struct target target = {0};
	char said[512];

	assert_int_equal(parse(&target, said, sizeof(said), argv), 0);
	assert_string_equal(said, "");
	assert_int_equal(target.size, 4096);
	assert_true(target.limit == UINT64_MAX);
	assert_int_equal(target.count, 7);
	assert_int_equal(target.word, 1);
	assert_string_equal(target.text, "x");
	assert_true(target.flag);
	assert_string_equal(target.args[0], "thing");
}

static void options_complain_in_one_line(void **state)
{
	static const char *const wrong[] = {"--size=0",   "--size=2M",  "--size=",   "--limit=-1",
					    "--count=10", "--count=1x", "--word=green", "--text=",
					    "--nothing",  "-x",	        "--size",    "--flag=1"};
	struct target target = {0};
	char said[512];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		char *argv[] = {(char *)"prog", (char *)wrong[i], NULL};

		assert_int_equal(parse(&target, said, sizeof(said), argv), -EINVAL);
		assert_ptr_equal(strstr(said, "prog: "), said);
		assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
	}
	{
		char *argv[] = {(char *)"prog", (char *)"a", (char *)"b", NULL};

		assert_int_equal(parse(&target, said, sizeof(said), argv), -EINVAL);
		assert_string_equal(said, "prog: one argument too many: \"b\"; see --help\n");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_keep_three_digits),
		cmocka_unit_test(progress_shows_every_number_in_80_columns),
		cmocka_unit_test(progress_of_devices_alone_has_no_memory),
		cmocka_unit_test(progress_tells_why_it_waits),
		cmocka_unit_test(progress_never_exceeds_the_width),
		cmocka_unit_test(progress_unknown_is_not_zero),
		cmocka_unit_test(progress_shows_memory_in_the_first_round),
		cmocka_unit_test(progress_has_no_codes_off_a_terminal),
		cmocka_unit_test(table_fits_and_has_both_columns),
		cmocka_unit_test(table_tells_the_error),
		cmocka_unit_test(table_counts_one_and_many),
		cmocka_unit_test(table_says_a_cause_once),
		cmocka_unit_test(table_shows_what_is_not_known),
		cmocka_unit_test(table_survives_a_strange_report),
		cmocka_unit_test(qmp_commands_events_and_errors),
		cmocka_unit_test(qmp_refuses_what_is_not_qmp),
		cmocka_unit_test(qmp_bounds_a_line),
		cmocka_unit_test(qmp_waits_no_longer_than_told),
		cmocka_unit_test(process_status_and_log),
		cmocka_unit_test(process_stops),
		cmocka_unit_test(process_dies_with_its_parent),
		cmocka_unit_test(options_fill_the_struct),
		cmocka_unit_test(options_complain_in_one_line),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
