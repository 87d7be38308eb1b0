/* SPDX-License-Identifier: BSD-3-Clause */
/* The tools that work on devices without a VM, against simulated devices in other processes. */
#include <json-c/json.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "cli/field.h"
#include "cli/process.h"
#include "tests/program.h"

#define WAIT_MS 60000
#define SIMS    4

static struct program_run run;
static char dir[64];
static struct process sims[SIMS];

static void path_of(char path[128], const char *format, ...) PRINTF(2, 3);
static void path_of(char path[128], const char *format, ...)
{
	char name[64];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	snprintf(path, 128, "%s/%s", dir, name);
}

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/test-tools-XXXXXX");
	memset(sims, 0, sizeof(sims));
	return mkdtemp(dir) ? 0 : -1;
}

static int stop_all(void **state)
{
	char command[128];

	for (int i = 0; i < SIMS; i++)
		process_stop(&sims[i], 5000);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* A device at DIR/simN, with up to one more option. */
static void start_sim(int i, const char *option)
{
	char socket[160], path[128], log[128];
	char *argv[] = {getenv("VFIO_MIGRATE"), (char[]){"sim"}, socket,
			(char[]){"--state-size=300K"}, (char *)option, NULL};
	uint64_t deadline = clock_after(WAIT_MS * NS_PER_MSEC);

	path_of(path, "sim%d", i);
	path_of(log, "sim%d.log", i);
	snprintf(socket, sizeof(socket), "--socket=%s", path);
	assert_int_equal(process_spawn(&sims[i], "sim", log, argv), 0);
	while (!process_said(&sims[i], "listening on ")) {
		assert_true(clock_ns() < deadline);
		assert_int_not_equal(process_wait(&sims[i], 5), 0);
	}
}

static void expect(int status, const char *format, ...) PRINTF(2, 3);

/* Run the program; "@" stands for the directory. Its exit status is wanted to be @status. */
static void expect(int status, const char *format, ...)
{
	char text[1024], args[2048];
	size_t used = 0;
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	for (const char *at = text; *at; at++)
		used += (size_t)snprintf(args + used, sizeof(args) - used, "%s",
					 *at == '@' ? dir : (char[]){*at, '\0'});
	program_run(&run, args, WAIT_MS);
	if (run.status != status)
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_int_equal(run.status, status);
}

static void expect_said(const char *text)
{
	if (!strstr(run.output, text))
		print_error("\"%s\" is not in:\n%s", text, run.output);
	assert_non_null(strstr(run.output, text));
}

static unsigned lines_said(void)
{
	unsigned lines = 0;

	for (const char *at = run.output; (at = strchr(at, '\n')); at++)
		lines++;
	return lines;
}

/* ---- info ---- */

static void info_tells_all_there_is(void **state)
{
	struct json_object *all, *first, *last;
	char path[128];

	start_sim(0, NULL);
	start_sim(1, "--migration=none");
	expect(0, "info @/sim0 unix:@/sim1");
	expect_said("STOP_COPY, P2P, PRE_COPY");
	expect_said("state            RUNNING");
	expect_said("stop-copy size   30");
	expect_said("dirty tracker    device");
	expect_said("cannot migrate   its server does not offer migration");
	path_of(path, "json");
	expect(1, "info -q --json=@/json @/sim0 @/sim1 @/none");
	assert_string_equal(run.output, "");
	all = json_object_from_file(path);
	assert_non_null(all);
	assert_int_equal(json_object_array_length(field_find(all, "devices")), 3);
	first = json_object_array_get_idx(field_find(all, "devices"), 0);
	assert_string_equal(field_text(first, "state", ""), "RUNNING");
	assert_string_equal(field_text(first, "dirty_tracker", ""), "device");
	assert_true(field_u64(first, "stop_copy_bytes", 0) >= 300 << 10);
	assert_true(field_true(first, "can_migrate"));
	last = json_object_array_get_idx(field_find(all, "devices"), 2);
	assert_false(field_true(last, "opened"));
	assert_non_null(strstr(field_text(last, "reason", ""), "is its server running?"));
	json_object_put(all);
}

static void info_knows_what_is_not_known(void **state)
{
	start_sim(0, "--no-extension");
	expect(0, "info @/sim0");
	expect_said("stop-copy size   not known");
	expect_said("migration        STOP_COPY, PRE_COPY\n");
}

static void info_says_why_nothing_opens(void **state)
{
	expect(1, "info 0000:7f:1f.7");
	expect_said("0000:7f:1f.7\n");
	expect_said("there is no device ");
	expect(1, "info 00000000-0000-0000-0000-000000000000");
	expect_said("there is no device ");
}

/* ---- blockers ---- */

static void blockers_judge_together(void **state)
{
	start_sim(0, NULL);
	start_sim(1, "--personality=hisi_acc");
	start_sim(2, "--migration=none");
	expect(0, "blockers @/sim0");
	assert_string_equal(run.output, "");
	expect(0, "blockers @/sim1");
	assert_string_equal(run.output, "");
	expect(1, "blockers @/sim0 @/sim1,name=acc");
	assert_string_equal(run.output, "device acc: it has no P2P states, which it needs beside "
					"other devices\n");
	expect(1, "blockers @/sim0,name=a @/sim1,name=b @/sim2,name=c @/nowhere,name=d");
	assert_int_equal(lines_said(), 3);
	expect_said("device b: it has no P2P states");
	expect_said("device c: it has no migration support: its server does not offer migration\n");
	expect_said("device d: No such file or directory: is its server running?\n");
	expect(1, "blockers -q @/sim2");
	assert_string_equal(run.output, "");
}

/* The report at DIR/json, to be put back. */
static struct json_object *read_json(void)
{
	struct json_object *o;
	char path[128];

	path_of(path, "json");
	o = json_object_from_file(path);
	assert_non_null(o);
	return o;
}

static void blockers_are_json_too(void **state)
{
	struct json_object *all, *list, *last;

	start_sim(0, NULL);
	start_sim(1, "--migration=none");
	expect(0, "blockers --json=@/json @/sim0");
	all = read_json();
	assert_true(field_true(all, "can_migrate"));
	assert_int_equal(json_object_array_length(field_find(all, "blockers")), 0);
	json_object_put(all);
	expect(1, "blockers -q --json=@/json @/sim0 @/nowhere @/sim1,name=b");
	assert_string_equal(run.output, "");
	all = read_json();
	assert_false(field_true(all, "can_migrate"));
	list = field_find(all, "blockers");
	assert_int_equal(json_object_array_length(list), 2);
	assert_string_equal(field_text(json_object_array_get_idx(list, 0), "advice", ""),
			    "its server does not offer migration");
	last = json_object_array_get_idx(list, 1);
	assert_non_null(strstr(field_text(last, "device", ""), "/nowhere"));
	assert_string_equal(field_text(last, "reason", ""), "No such file or directory");
	assert_string_equal(field_text(last, "advice", ""), "is its server running?");
	json_object_put(all);
}

/* ---- save, restore, compat ---- */

static void a_state_goes_from_one_to_another(void **state)
{
	start_sim(0, NULL);
	start_sim(1, NULL);
	expect(0, "save @/sim0 @/file");
	expect_said("saved 30");
	expect(0, "compat @/file @/sim1");
	assert_string_equal(run.output, "");
	expect(0, "restore @/sim1 @/file");
	expect_said("RUNNING");
	/* What arrived is what was sent: neither device changes its state by itself. */
	expect(0, "save -q @/sim1 @/again");
	assert_string_equal(run.output, "");
	expect(0, "restore -q --stopped @/sim1 @/again");
	expect(0, "info @/sim1");
	expect_said("state            STOP\n");
	expect(0, "save -q @/sim1 @/again");
	expect(0, "info @/sim1");
	expect_said("state            STOP\n");
	expect(0, "info @/sim0");
	expect_said("state            RUNNING\n");
}

/* Through pipes, of a shell. */
static void sh(int status, const char *format, ...) PRINTF(2, 3);
static void sh(int status, const char *format, ...)
{
	char text[1024], command[2048];
	va_list list;
	int got;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	snprintf(command, sizeof(command), "cd %s && { %s; } >log 2>&1", dir, text);
	got = system(command);
	if (got != status << 8)
		print_error("%s: %d\n", command, got);
	assert_int_equal(got, status << 8);
}

/* What the shell's commands said. */
static void expect_logged(const char *text)
{
	char path[128];
	FILE *in;

	path_of(path, "log");
	in = fopen(path, "r");
	assert_non_null(in);
	run.output[fread(run.output, 1, sizeof(run.output) - 1, in)] = '\0';
	fclose(in);
	expect_said(text);
}

static void a_state_goes_through_a_pipe(void **state)
{
	start_sim(0, NULL);
	start_sim(1, NULL);
	sh(0, "$VFIO_MIGRATE save sim0 - | TMPDIR=. $VFIO_MIGRATE restore sim1 -");
	sh(0, "$VFIO_MIGRATE save sim0 - | $VFIO_MIGRATE compat - sim1");
	sh(1, "$VFIO_MIGRATE save sim0 - | head -c 70000 | $VFIO_MIGRATE restore sim1 -");
	expect_logged("cut or altered: found out after 70000 bytes; the device is as it was");
	sh(1, "$VFIO_MIGRATE save sim0 - | $VFIO_MIGRATE restore --limit=100K sim1 -");
	expect_logged("it does not end within 102400 bytes");
	sh(1, "$VFIO_MIGRATE save sim0 /dev/full");
	expect_logged("No space left");
	expect(0, "info @/sim0 @/sim1");
	assert_null(strstr(run.output, "STOP\n"));
}

static void a_file_is_whole_or_not_there(void **state)
{
	start_sim(0, "--corrupt-stream");
	start_sim(1, NULL);
	start_sim(2, "--migration=none");
	expect(1, "save @/sim2 @/file");
	expect_said("it has no migration support");
	sh(0, "test ! -e file && test -z \"$(ls -d file.* 2>/dev/null)\"");
	expect(1, "save @/nowhere @/file");
	expect(1, "save @/sim1 @/no/where");
	sh(0, "test ! -e file && test -z \"$(ls -d file.* 2>/dev/null)\"");
	expect(0, "save @/sim0 @/file");
	sh(0, "test -z \"$(ls -d file.* 2>/dev/null)\"");
	/* Whole, of the right kind, and still not what the device takes: it says so at the end. */
	expect(1, "restore @/sim1 @/file");
	expect_said("the device was reset: it is RUNNING with initial contents");
	expect(0, "info @/sim1");
	expect_said("state            RUNNING\n");
}

/* A link leads to where the state belongs, and stays. */
static void a_link_is_followed(void **state)
{
	start_sim(0, NULL);
	start_sim(1, NULL);
	sh(0, "mkdir sub && head -c 400000 /dev/zero >sub/old && ln -s sub/old link && "
	      "ln -s nowhere broken");
	expect(0, "save -q @/sim0 @/link");
	sh(0, "test -L link && test ! -L sub/old && test $(ls sub | wc -l) = 1");
	expect(0, "restore -q @/sim1 @/link");
	/* What fails leaves the old one. */
	expect(1, "save -q @/nowhere @/link");
	expect(0, "restore -q @/sim1 @/sub/old");
	expect(1, "save -q @/sim0 @/broken");
	expect_said("No such file or directory");
	expect(1, "save -q @/sim0 @/sub");
	expect_said("Is a directory");
	sh(0, "test -L broken && test ! -e nowhere");
}

/* What lies beside it is somebody else's. */
static void a_neighbour_is_left_alone(void **state)
{
	start_sim(0, NULL);
	start_sim(1, NULL);
	sh(0, "echo mine >file.part && echo secret >other && ln -s other two.part");
	sh(0, "$VFIO_MIGRATE save -q sim0 file && $VFIO_MIGRATE save -q sim0 two");
	sh(0, "test $(cat file.part) = mine && test $(cat other) = secret && test -L two.part");
	sh(0, "$VFIO_MIGRATE save -q sim0 file & a=$!; $VFIO_MIGRATE save -q sim1 file && wait $a");
	sh(0, "$VFIO_MIGRATE restore -q sim1 file && test $(ls -d file* | wc -l) = 2");
}

static void endless_input_is_refused_at_once(void **state)
{
	start_sim(0, NULL);
	sh(1, "$VFIO_MIGRATE restore sim0 /dev/zero");
	expect_logged("/dev/zero: it is no saved state of a device; the device is as it was");
	sh(1, "$VFIO_MIGRATE compat - sim0 </dev/zero");
	expect_logged("it is no saved state of a device");
}

/* A reader that does not read: the device is stopped meanwhile, and one interrupt ends that. */
static void a_blocked_save_can_be_interrupted(void **state)
{
	start_sim(0, NULL);
	/* More than a pipe holds; when it is in STOP_COPY, the reader having its first byte. */
	sh(0, "mkfifo fifo && { $VFIO_MIGRATE save sim0 fifo & } && exec 5<fifo && "
	      "head -c 1 <&5 >first && kill -TERM $! && "
	      "{ timeout 50 tail --pid=$! -f /dev/null; kill -9 $!; wait $!; test $? = 4; }");
	expect_logged("cancelled; the device is as it was");
	expect(0, "info @/sim0");
	expect_said("state            RUNNING\n");
}

/* A fifo without a reader is waited for before the device is touched, and any signal ends that. */
static void waiting_for_a_reader_can_be_ended(void **state)
{
	char *argv[] = {getenv("VFIO_MIGRATE"), (char[]){"save"}, (char[128]){""},
			(char[128]){""}, NULL};
	struct process save = {.pid = 0};
	char log[128];

	start_sim(0, NULL);
	sh(0, "mkfifo fifo");
	path_of(argv[2], "sim0");
	path_of(argv[3], "fifo");
	path_of(log, "save.log");
	assert_int_equal(process_spawn(&save, "save", log, argv), 0);
	assert_int_equal(kill(save.pid, SIGINT), 0);
	assert_int_equal(process_wait(&save, WAIT_MS), 0);
	assert_int_not_equal(save.status, 0);
	process_stop(&save, 5000);
	expect(0, "info @/sim0");
	expect_said("state            RUNNING\n");
}

/* It may be the only copy. */
static void a_whole_file_outlives_its_device(void **state)
{
	start_sim(0, "--fail-arc=STOP_COPY:STOP=EIO");
	start_sim(1, NULL);
	expect(1, "save @/sim0 @/file");
	expect_said("; its state is in ");
	expect_said("/file, and the device was reset: it is RUNNING with initial contents\n");
	expect(0, "restore @/sim1 @/file");
}

static void other_things_are_refused(void **state)
{
	start_sim(0, NULL);
	start_sim(1, "--migration=none");
	sh(0, "echo something else >file");
	expect(1, "restore @/sim0 @/file");
	expect_said("file: it is no saved state of a device; "
		    "the device is as it was");
	expect(1, "restore @/sim0 @/nothing");
	expect(1, "restore @/sim0 @");
	expect(1, "compat @/file @/sim0");
	expect_said("it is no saved state of a device");
	expect(1, "compat @/sim0 @/nowhere");
	expect(1, "compat @/sim0 @/sim1");
	assert_string_equal(run.output, "it has no migration support at B\n");
	expect(1, "compat -q @/sim0 @/sim1");
	assert_string_equal(run.output, "");
	expect(0, "compat @/sim0 @/sim0");
}

static void compat_is_json_too(void **state)
{
	struct json_object *answer;

	start_sim(0, NULL);
	start_sim(1, "--migration=none");
	expect(1, "compat -q --json=@/json @/sim0 @/sim1");
	assert_string_equal(run.output, "");
	answer = read_json();
	assert_false(field_true(answer, "compatible"));
	assert_int_equal(json_object_array_length(field_find(answer, "reasons")), 1);
	assert_non_null(strstr(field_text(answer, "b", ""), "/sim1"));
	json_object_put(answer);
	expect(0, "compat --json=@/json @/sim0 @/sim0");
	answer = read_json();
	assert_true(field_true(answer, "compatible"));
	json_object_put(answer);
	expect(1, "compat --json=@/other @/sim0 @/nowhere");
	sh(0, "test ! -e other");
}

static void personalities_are_told_apart(void **state)
{
	start_sim(0, "--personality=qat");
	start_sim(1, "--personality=xe");
	expect(1, "compat @/sim0 @/sim1");
	assert_string_equal(run.output, "subsystem 5646:0005 at A, 5646:0007 at B\n");
	expect(0, "save -q @/sim0 @/file");
	expect(1, "restore @/sim1 @/file");
	expect_said("the device is as it was");
}

static void what_was_said_has_to_arrive(void **state)
{
	start_sim(0, NULL);
	sh(0, "$VFIO_MIGRATE info sim0 >out");
	sh(1, "$VFIO_MIGRATE info sim0 >/dev/full");
	sh(1, "$VFIO_MIGRATE --help >/dev/full");
	sh(1, "$VFIO_MIGRATE sim --help >/dev/full");
}

static void what_has_no_rounds_is_not_replayed(void **state)
{
	sh(0, "echo '{\"side\": \"destination\", \"samples\": []}' >there && "
	      "echo '{\"samples\": []}' >here");
	expect(2, "replay @/there");
	assert_int_equal(lines_said(), 1);
	expect_said("it is the destination's report, and the source decides");
	expect(2, "replay @/here");
	expect_said("ended before its first round");
}

/* A file that is no socket refuses in the words of a server that is gone: nobody waits for that. */
static void what_is_no_socket_is_told_so(void **state)
{
	start_sim(0, NULL);
	sh(0, "echo >file && mkdir sub");
	expect(2, "info @/sub");
	expect_said("/sub\" is there, and no device: give unix:PATH");
	expect(2, "save @/file @/state");
	expect_said("/file\" is there, and no device: give unix:PATH");
	expect(1, "blockers unix:@/sub");
	expect_said("Socket operation on non-socket\n");
	expect(1, "vm --device=@/sub --memory=16M --accel=thread");
	expect_said("/sub: Socket operation on non-socket\n");
	expect(1, "send @/sim0 unix:@/file");
	expect_said("/file: Socket operation on non-socket\n");
	expect(1, "migrate --vm=@/file --status");
	expect_said("/file: Socket operation on non-socket\n");
	expect(1, "recv @/sim0 unix:@/file");
	expect_said("a file of that name is there, and is no socket\n");
	sh(0, "test -f file");
}

/* ---- send, recv ---- */

static struct process receiver;

static int stop_receiver(void **state)
{
	process_stop(&receiver, 5000);
	memset(&receiver, 0, sizeof(receiver));
	return stop_all(state);
}

static void await_said(struct process *process, const char *text)
{
	uint64_t deadline = clock_after(WAIT_MS * NS_PER_MSEC);

	while (!process_said(process, text)) {
		assert_true(clock_ns() < deadline);
		assert_int_not_equal(process_wait(process, 5), 0);
	}
}

/* Wait at DIR/move with the devices of the simulators from @first on, @count of them. */
static void start_receiver(int first, int count)
{
	char *argv[SIMS + 5] = {getenv("VFIO_MIGRATE"), (char[]){"recv"}};
	char paths[SIMS][128], address[160], move[128], log[128];

	for (int i = 0; i < count; i++) {
		path_of(paths[i], "sim%d", first + i);
		argv[2 + i] = paths[i];
	}
	path_of(move, "move");
	snprintf(address, sizeof(address), "unix:%s", move);
	argv[2 + count] = address;
	path_of(log, "recv.log");
	assert_int_equal(process_spawn(&receiver, "recv", log, argv), 0);
	await_said(&receiver, "listening on ");
}

static void expect_received(int status)
{
	assert_int_equal(process_wait(&receiver, WAIT_MS), 0);
	if (receiver.status != status << 8)
		process_show_log(&receiver, 20, stderr);
	assert_int_equal(receiver.status, status << 8);
}

static void expect_states(const char *sims_given, unsigned running, unsigned stopped)
{
	unsigned runs = 0, stops = 0;

	expect(0, "info %s", sims_given);
	for (const char *at = run.output; (at = strstr(at, " RUNNING\n")); at++)
		runs++;
	for (const char *at = run.output; (at = strstr(at, " STOP\n")); at++)
		stops++;
	assert_int_equal(runs, running);
	assert_int_equal(stops, stopped);
}

static void devices_move_alone(void **state)
{
	struct json_object *report;

	for (int i = 0; i < SIMS; i++)
		start_sim(i, NULL);
	start_receiver(2, 2);
	expect(0, "send --json=@/json @/sim0 @/sim1 unix:@/move");
	expect_said("the devices run on the destination");
	assert_null(strstr(run.output, "guest"));
	assert_null(strstr(run.output, "all zero"));
	expect_received(0);
	assert_true(process_said(&receiver, ": the devices run here\n"));
	expect_states("@/sim0 @/sim1 @/sim2 @/sim3", 2, 2);
	report = read_json();
	assert_string_equal(field_text(report, "side", ""), "source");
	assert_string_equal(field_text(report, "status", ""), "completed");
	assert_int_equal(json_object_array_length(field_find(report, "devices")), 2);
	/* In pre-copy, as far as it goes. */
	assert_true(field_u64(json_object_array_get_idx(field_find(report, "devices"), 0),
			      "precopy_bytes", 0) > 0);
	json_object_put(report);
}

/* A few bytes say nothing about the wire, and are no reason to wait for ever. */
static void a_tiny_state_moves_too(void **state)
{
	start_sim(0, "--personality=mtty");
	start_sim(1, "--personality=mtty");
	start_receiver(1, 1);
	expect(0, "send -q @/sim0 unix:@/move");
	expect_received(0);
	expect_states("@/sim0 @/sim1", 1, 1);
}

static void the_wrong_peer_is_sent_away(void **state)
{
	start_sim(0, NULL);
	start_sim(1, "--personality=hisi_acc");
	start_sim(2, "--migration=none");
	start_sim(3, NULL);
	start_receiver(3, 1);
	expect(1, "send -q @/sim0,name=other unix:@/move");
	expect_said("the source has none of that name");
	expect(1, "send -q @/sim0 @/sim1 unix:@/move");
	expect_said("it has no P2P states");
	expect(1, "send -q @/sim2 unix:@/move");
	expect_said("it has no migration support");
	expect(1, "send -q @/sim0 unix:@/nowhere");
	expect_said("does recv wait there?");
	/* What is refused costs nobody anything; the right one is waited for. */
	expect_states("@/sim0", 1, 0);
	expect(0, "send -q @/sim0 unix:@/move");
	assert_string_equal(run.output, "");
	expect_received(0);
}

static void a_state_that_is_refused_stays(void **state)
{
	start_sim(0, "--corrupt-stream");
	start_sim(1, NULL);
	start_receiver(1, 1);
	expect(1, "send @/sim0 unix:@/move");
	expect_said("the devices run on at the source");
	expect_received(1);
	assert_true(process_said(&receiver, "nothing was taken over: the devices stay with the "
					    "source"));
	expect_states("@/sim0 @/sim1", 2, 0);
}

/* The device runs there; it must not run here as well, whatever becomes of a second try. */
static void what_was_given_away_is_not_sent_again(void **state)
{
	for (int i = 0; i < 3; i++)
		start_sim(i, NULL);
	start_receiver(1, 1);
	expect(0, "send -q @/sim0 unix:@/move");
	expect_received(0);
	start_receiver(2, 1);
	expect(1, "send -q @/sim0 unix:@/move");
	expect_said("given away");
	expect_states("@/sim0 @/sim1", 1, 1);
	expect(0, "send -q @/sim1 unix:@/move");
	expect_received(0);
}

static void waiting_can_be_ended(void **state)
{
	start_sim(0, NULL);
	start_receiver(0, 1);
	assert_int_equal(kill(receiver.pid, SIGINT), 0);
	expect_received(4);
	assert_true(process_said(&receiver, "no source came; the devices here are as they were"));
	assert_false(process_said(&receiver, "migration"));
	expect_states("@/sim0", 1, 0);
}

/* Nobody has to come for that. */
static void what_cannot_come_is_not_waited_for(void **state)
{
	start_sim(0, NULL);
	start_sim(1, "--migration=none");
	start_sim(2, "--personality=hisi_acc");
	expect(1, "recv @/sim1 unix:@/move");
	expect_said("device dev0: it has no migration support: its server does not offer "
		    "migration\n");
	expect(1, "recv @/sim0 @/sim2 unix:@/move");
	expect_said("device dev1: it has no P2P states");
	sh(0, "test ! -e move");
}

/* ---- vm ---- */

/* It has no window, and nobody to ask. */
static void a_vm_says_what_it_does(void **state)
{
	char *argv[] = {getenv("VFIO_MIGRATE"), (char[]){"vm"}, (char[]){"--memory=16M"},
			(char[]){"--accel=thread"}, NULL, NULL};
	char log[128], control[160], socket[128];

	path_of(log, "vm.log");
	path_of(socket, "qmp");
	snprintf(control, sizeof(control), "--control=%s", socket);
	for (int i = 0; i < 2; i++) {
		argv[4] = i ? control : NULL;
		assert_int_equal(process_spawn(&receiver, "vm", log, argv), 0);
		await_said(&receiver, i ? "takes commands at " : "takes no commands, for want of ");
		assert_true(process_said(&receiver, "a guest of 16 MiB with 0 devices is at work"));
		assert_int_equal(kill(receiver.pid, SIGTERM), 0);
		expect_received(0);
		process_stop(&receiver, 5000);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, stop_all)

#define TEST_RECV(name) cmocka_unit_test_setup_teardown(name, make_dir, stop_receiver)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(info_tells_all_there_is),
		TEST(info_knows_what_is_not_known),
		TEST(what_was_said_has_to_arrive),
		TEST(what_has_no_rounds_is_not_replayed),
		TEST(what_is_no_socket_is_told_so),
		TEST(info_says_why_nothing_opens),
		TEST(blockers_judge_together),
		TEST(blockers_are_json_too),
		TEST(a_state_goes_from_one_to_another),
		TEST(a_state_goes_through_a_pipe),
		TEST(a_file_is_whole_or_not_there),
		TEST(a_link_is_followed),
		TEST(a_neighbour_is_left_alone),
		TEST(endless_input_is_refused_at_once),
		TEST(a_blocked_save_can_be_interrupted),
		TEST(waiting_for_a_reader_can_be_ended),
		TEST(a_whole_file_outlives_its_device),
		TEST(other_things_are_refused),
		TEST(compat_is_json_too),
		TEST(personalities_are_told_apart),
		TEST_RECV(devices_move_alone),
		TEST_RECV(a_tiny_state_moves_too),
		TEST_RECV(the_wrong_peer_is_sent_away),
		TEST_RECV(a_state_that_is_refused_stays),
		TEST_RECV(what_was_given_away_is_not_sent_again),
		TEST_RECV(waiting_can_be_ended),
		TEST(what_cannot_come_is_not_waited_for),
		TEST_RECV(a_vm_says_what_it_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
