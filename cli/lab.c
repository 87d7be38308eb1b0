/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "field.h"
#include "interrupt.h"

#define SELF        "/proc/self/exe"
#define ARGS_MAX    128
#define ARG_MAX_LEN 192
#define POLL_MS     10
#define LOG_LINES   8

static const char *const end_names[LAB_ENDS] = {"source", "destination"};

PRINTF(3, 4) static int fail(struct lab *lab, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(lab->why, sizeof(lab->why), format, args);
	va_end(args);
	return code;
}

/* A command line under construction; what does not fit makes it invalid. */
struct line {
	char text[ARGS_MAX][ARG_MAX_LEN];
	char *argv[ARGS_MAX + 1];
	unsigned count;
	bool overflow;
};

PRINTF(2, 3) static void add(struct line *line, const char *format, ...)
{
	va_list args;

	if (line->count == ARGS_MAX) {
		line->overflow = true;
		return;
	}
	va_start(args, format);
	if (vsnprintf(line->text[line->count], ARG_MAX_LEN, format, args) >= ARG_MAX_LEN)
		line->overflow = true;
	va_end(args);
	line->argv[line->count] = line->text[line->count];
	line->argv[++line->count] = NULL;
}

static void add_words(struct line *line, const char *words)
{
	size_t length;

	for (words = words ? words : ""; *words; words += length) {
		words += strspn(words, " ");
		length = strcspn(words, " ");
		if (length)
			add(line, "%.*s", (int)length, words);
	}
}

static void path_of(const struct lab *lab, enum lab_end end, const char *what,
		    char path[LAB_PATH_MAX + 32])
{
	snprintf(path, LAB_PATH_MAX + 32, "%s/%s.%s", lab->dir, end_names[end], what);
}

static int spawn(struct lab *lab, enum lab_end end, const char *what, struct process *process,
		 struct line *line)
{
	char name[PROCESS_NAME_MAX], log[LAB_PATH_MAX + 32], file[16];
	int rc;

	snprintf(name, sizeof(name), "%s %s", end_names[end], what);
	snprintf(file, sizeof(file), "%s.log", what);
	path_of(lab, end, file, log);
	rc = line->overflow ? -E2BIG : process_spawn(process, name, log, line->argv);
	return rc ? fail(lab, rc, "starting the %s: %s", name, strerror(-rc)) : 0;
}

/* One step of waiting until a process is ready. */
static int wait_a_little(struct lab *lab, struct process *process, uint64_t deadline)
{
	char how[64];

	if (interrupt_sleep(lab->config.interrupts, POLL_MS))
		return fail(lab, -EINTR, "interrupted");
	if (process_wait(process, 0) != -ETIMEDOUT)
		return fail(lab, -ECHILD, "the %s did not start: %s", process->name,
			    process_describe(process, how, sizeof(how)));
	if (clock_ns() > deadline)
		return fail(lab, -ETIMEDOUT, "the %s does not come up", process->name);
	return 0;
}

static int wait_until_it_listens(struct lab *lab, struct process *process)
{
	uint64_t deadline = clock_ns() + LAB_START_MS * NS_PER_MSEC;
	int rc = 0;

	while (!rc && !process_said(process, "listening on "))
		rc = wait_a_little(lab, process, deadline);
	return rc;
}

/* The control socket comes up some time after the VM was started. */
static int connect_control(struct lab *lab, struct lab_side *side, const char *path)
{
	uint64_t deadline = clock_ns() + LAB_START_MS * NS_PER_MSEC;
	int rc;

	for (;;) {
		rc = qmp_client_connect(path, LAB_START_MS, &side->qmp, lab->why);
		if (rc != -ENOENT && rc != -ECONNREFUSED)
			return rc;
		rc = wait_a_little(lab, &side->vm, deadline);
		if (rc)
			return rc;
	}
}

unsigned lab_devices(const struct lab_config *config)
{
	return config->devices ? config->devices : 1;
}

const char *lab_personality(const struct lab_config *config, unsigned i)
{
	return config->personalities ? config->personality[i % config->personalities] : NULL;
}

static void device_path(const struct lab *lab, enum lab_end end, unsigned i,
			char path[LAB_PATH_MAX + 32])
{
	char what[16];

	snprintf(what, sizeof(what), "sim%u", i);
	path_of(lab, end, what, path);
}

static void add_sim_options(const struct lab_config *config, enum lab_end end, unsigned i,
			    struct line *line)
{
	const char *personality = lab_personality(config, i);

	if (personality)
		add(line, "--personality=%s", personality);
	if (config->state_size)
		add(line, "--state-size=%" PRIu64, config->state_size);
	if (config->initial_size != UINT64_MAX)
		add(line, "--initial-size=%" PRIu64, config->initial_size);
	add(line, "--dirty-rate=%" PRIu64, config->state_dirty_rate);
	if (!(config->silent >> i & 1))
		add(line, "--dma-rate=%" PRIu32, config->dma_rate);
	add_words(line, config->sim_option[end]);
}

int lab_check_sim(const struct lab_config *config, enum lab_end end, unsigned i, const char *name,
		  int (*check)(int argc, char **argv))
{
	struct line line = {.count = 0};

	add(&line, "%s", name);
	add(&line, "--socket=checked");
	add_sim_options(config, end, i, &line);
	return line.overflow ? -E2BIG : check((int)line.count, line.argv);
}

static int start_sim(struct lab *lab, enum lab_end end, unsigned i)
{
	struct process *process = &lab->side[end].sim[i];
	char socket[LAB_PATH_MAX + 32], what[16] = "device";
	struct line line = {.count = 0};

	if (lab_devices(&lab->config) > 1)
		snprintf(what, sizeof(what), "device%u", i);
	device_path(lab, end, i, socket);
	add(&line, "%s", lab->config.program ? lab->config.program : SELF);
	add(&line, "sim");
	add(&line, "--socket=%s", socket);
	add_sim_options(&lab->config, end, i, &line);
	return spawn(lab, end, what, process, &line);
}

/* All at once, since each takes its time to touch its memory. */
static int start_sims(struct lab *lab, enum lab_end end)
{
	unsigned i, count = lab_devices(&lab->config);
	int rc = 0;

	if (lab->config.vfio[end])
		return 0;
	if (count > LAB_DEVICES_MAX)
		return fail(lab, -ERANGE, "at most %d devices", LAB_DEVICES_MAX);
	for (i = 0; i < count && !rc; i++)
		rc = start_sim(lab, end, i);
	for (i = 0; i < count && !rc; i++)
		rc = wait_until_it_listens(lab, &lab->side[end].sim[i]);
	return rc;
}

static void add_kernel_devices(const char *words, struct line *line)
{
	unsigned i;

	for (i = 0; *words; i++) {
		size_t length = strcspn(words, " ");

		add(line, "--vfio=%.*s,name=dev%u", (int)length, words, i);
		words += length;
		words += strspn(words, " ");
	}
}

static void add_devices(struct lab *lab, enum lab_end end, struct line *line)
{
	const char *other = end == LAB_DESTINATION ? lab->config.other_device : NULL;
	char socket[LAB_PATH_MAX + 32];
	unsigned i;

	if (lab->config.vfio[end]) {
		add_kernel_devices(lab->config.vfio[end], line);
		return;
	}
	for (i = 0; i < lab_devices(&lab->config); i++) {
		device_path(lab, end, i, socket);
		if (i || !other)
			add(line, "--device=%s,name=dev%u", socket, i);
		else if (*other)
			add(line, "--device=%s,name=%s", socket, other);
	}
}

static void add_vm_options(struct lab *lab, enum lab_end end, struct line *line)
{
	const struct lab_config *config = &lab->config;

	bool other = end == LAB_DESTINATION;

	add(line, "--memory=%" PRIu64,
	    other && config->other_memory ? config->other_memory : config->memory);
	add(line, "--cpus=%" PRIu32, config->cpus);
	add(line, "--accel=%s", config->accel);
	add(line, "--verify");
	if (!other) {
		add(line, "--dirty-rate=%" PRIu64, config->dirty_rate);
		return;
	}
	add(line, "--incoming=tcp:127.0.0.1:0");
	if (config->spoil)
		add(line, "--spoil=%s", config->spoil);
}

static int start_vm(struct lab *lab, enum lab_end end)
{
	struct lab_side *side = &lab->side[end];
	char control[LAB_PATH_MAX + 32];
	struct line line = {.count = 0};
	int rc;

	path_of(lab, end, "qmp", control);
	add(&line, "%s", lab->config.program ? lab->config.program : SELF);
	add(&line, "vm");
	add_devices(lab, end, &line);
	add(&line, "--control=%s", control);
	add_vm_options(lab, end, &line);
	add_words(&line, lab->config.vm_option[end]);
	rc = spawn(lab, end, "VM", &side->vm, &line);
	return rc ? rc : connect_control(lab, side, control);
}

/* The port was the kernel's choice, so that demos do not meet: ask where the VM waits. */
static int ask_address(struct lab *lab)
{
	struct qmp_client *qmp = lab->side[LAB_DESTINATION].qmp;
	struct json_object *result;
	const char *address;

	if (qmp_client_execute(qmp, "x-vfm-incoming", NULL, LAB_START_MS, &result))
		return fail(lab, -EIO, "asking the destination VM for its address: %s",
			    qmp_client_why(qmp));
	address = field_text(result, "address", "");
	snprintf(lab->address, sizeof(lab->address), "%s", address);
	json_object_put(result);
	return *lab->address ? 0 : fail(lab, -EPROTO, "the destination VM tells no address");
}

static int make_dir(struct lab *lab)
{
	const char *base = getenv("TMPDIR");

	if (!base || !*base || strlen(base) > LAB_PATH_MAX - 32)
		base = "/tmp";
	snprintf(lab->dir, sizeof(lab->dir), "%s/vfio-migrate.XXXXXX", base);
	if (mkdtemp(lab->dir))
		return 0;
	lab->dir[0] = '\0';
	return fail(lab, -errno, "making a directory in %s: %s", base, strerror(errno));
}

int lab_start(struct lab *lab, const struct lab_config *config)
{
	int rc;

	memset(lab, 0, sizeof(*lab));
	lab->config = *config;
	rc = make_dir(lab);
	for (unsigned end = 0; end < LAB_ENDS && !rc; end++)
		rc = start_sims(lab, end);
	for (unsigned end = 0; end < LAB_ENDS && !rc; end++)
		rc = start_vm(lab, end);
	return rc ? rc : ask_address(lab);
}

static void stop_side(struct lab_side *side)
{
	unsigned i;

	qmp_client_free(side->qmp);
	side->qmp = NULL;
	process_stop(&side->vm, LAB_STOP_MS);
	for (i = 0; i < LAB_DEVICES_MAX; i++)
		process_stop(&side->sim[i], LAB_STOP_MS);
}

static int renew(struct lab *lab, enum lab_end end)
{
	int rc;

	stop_side(&lab->side[end]);
	rc = start_sims(lab, end);
	return rc ? rc : start_vm(lab, end);
}

int lab_renew_destination(struct lab *lab)
{
	int rc = renew(lab, LAB_DESTINATION);

	return rc ? rc : ask_address(lab);
}

int lab_renew_source(struct lab *lab)
{
	return renew(lab, LAB_SOURCE);
}

/* Only files of ours are in it, and no directories. */
static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(path);
}

void lab_stop(struct lab *lab)
{
	unsigned end;

	for (end = 0; end < LAB_ENDS; end++)
		stop_side(&lab->side[end]);
	if (*lab->dir)
		remove_dir(lab->dir);
	lab->dir[0] = '\0';
}

static void show_casualty(struct process *process, FILE *out)
{
	char how[64];

	process_wait(process, 0);
	if (!process->ended)
		return;
	fprintf(out, "the %s has ended: %s\n", process->name,
		process_describe(process, how, sizeof(how)));
	process_show_log(process, LOG_LINES, out);
}

void lab_show_casualties(struct lab *lab, FILE *out)
{
	unsigned end, i;

	for (end = 0; end < LAB_ENDS; end++) {
		for (i = 0; i < LAB_DEVICES_MAX; i++)
			show_casualty(&lab->side[end].sim[i], out);
		show_casualty(&lab->side[end].vm, out);
	}
}
