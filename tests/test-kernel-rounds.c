/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's driver leaves nothing behind: 10,000 rounds of open, migrate, close, and the
 * kernel has what it had. A round moves one device's state into another through PRE_COPY, with both opened
 * for it and their DMA logged, and ends in one of several ways: well, broken off, by closing alone.
 *
 * What the kernel has is counted after the first tenth, when its caches are warm, and at the end. For
 * memory these are the objects of each slab cache, the mappings of vmalloc, and all that is available; a
 * leak in every tenth round would show in each. On the kernel that watches memory freed objects stay
 * aside for long, sizes say nothing, and fewer rounds will do.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define ONE "50000000-0000-0000-0000-000000000001"
#define TWO "50000000-0000-0000-0000-000000000002"

enum {
	ROUNDS = 10000,
	ROUNDS_WATCHED = 1000,  /* where each takes ten times as long */
	SLACK = ROUNDS / 10,    /* objects */
	SLACK_KIB = 16 << 10,   /* of memory: two pages a round would be four times that */
	SLACK_MAPPINGS = 64,
	CACHES = 400,
	STREAM = 1 << 16,
	SETTLE_S = 30,
};

/* ---- what the kernel has ---- */

struct cache {
	char name[64];
	long objects;
};

struct count {
	struct cache caches[CACHES];
	unsigned cache_count;
	long mappings;  /* of vmalloc */
	long available; /* KiB */
	long references; /* to the module */
	long threads;
	long debugfs;
};

static long lines_of(const char *path)
{
	FILE *file = fopen(path, "re");
	long lines = 0;
	int c;

	if (!file)
		return 0;
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/* Entries of a directory whose names begin with a digit. */
static long entries_of(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	long entries = 0;

	while (dir && (entry = readdir(dir)))
		entries += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
	if (dir)
		closedir(dir);
	return entries;
}

static long available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long kib = 0;
	char line[128];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

static void count_caches(struct count *c)
{
	FILE *file = fopen("/proc/slabinfo", "re");
	struct cache *cache;
	char line[512];

	c->cache_count = 0;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) && c->cache_count < CACHES) {
		cache = &c->caches[c->cache_count];
		if (line[0] != '#' && sscanf(line, "%63s %ld", cache->name, &cache->objects) == 2)
			c->cache_count++;
	}
	fclose(file);
	assert_true(c->cache_count > 10);
}

static void shrink(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	sync();
	if (fd >= 0 && write(fd, "3", 1) != 1)
		print_message("caches are not dropped\n");
	if (fd >= 0)
		close(fd);
}

static void count(struct count *c)
{
	shrink();
	count_caches(c);
	c->mappings = lines_of("/proc/vmallocinfo");
	c->available = available();
	c->references = user_number_in("/sys/module/" USER_DRIVER "/refcnt");
	c->threads = entries_of("/proc");
	c->debugfs = entries_of("/sys/kernel/debug/vfio");
}

static long objects_in(const struct count *c, const char *name)
{
	for (unsigned i = 0; i < c->cache_count; i++)
		if (!strcmp(c->caches[i].name, name))
			return c->caches[i].objects;
	return 0;
}

/* How much more there is; told if @tell. */
static unsigned compare(const struct count *was, const struct count *is, bool tell)
{
	const struct {
		const char *what;
		long was, is, slack;
	} rows[] = {
		{"mappings of vmalloc", was->mappings, is->mappings, SLACK_MAPPINGS},
		{"KiB that are not available", -was->available, -is->available, SLACK_KIB},
		{"references to the module", was->references, is->references, 0},
		{"processes and kernel threads", was->threads, is->threads, 16},
		{"files of VFIO in debugfs", was->debugfs, is->debugfs, 0},
	};
	unsigned more = 0;

	for (unsigned i = 0; i < is->cache_count; i++) {
		long before = objects_in(was, is->caches[i].name), now = is->caches[i].objects;

		if (now - before <= SLACK)
			continue;
		more++;
		if (tell)
			print_error("%s: %ld objects, then %ld\n", is->caches[i].name, before, now);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].is - rows[i].was > rows[i].slack) {
			more++;
			if (tell)
				print_error("%s: %ld, then %ld\n", rows[i].what, rows[i].was,
					    rows[i].is);
		}
	}
	return more;
}

/* What is freed later may still be there at first. */
static void expect_no_more(const struct count *was)
{
	static struct count is;
	time_t end = time(NULL) + SETTLE_S;

	do {
		count(&is);
		if (!compare(was, &is, false)) {
			print_message("available: %ld KiB, then %ld; vmalloc: %ld mappings, then %ld\n",
				      was->available, is.available, was->mappings, is.mappings);
			return;
		}
		usleep(200000);
	} while (time(NULL) < end);
	compare(was, &is, true);
	fail_msg("something was left behind");
}

/* ---- a round ---- */

static void log_dma(struct user *u)
{
	struct vfm_feature_logging_range range = {USER_MEMORY_IOVA, USER_MEMORY_SIZE};
	struct vfm_feature_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range,
	};
	int ret = user_feature(u->fd, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET, &control,
			       sizeof(control));

	/* A kernel without bitmaps has no log. */
	assert_true(!ret || ret == -ENOTTY || ret == -EOPNOTSUPP);
}

static ssize_t save(struct user *u, uint8_t *stream)
{
	struct vfm_precopy_info info = {.argsz = sizeof(info)};
	ssize_t early, late;
	int fd;

	assert_int_equal(user_set(u, VFM_STATE_PRE_COPY, &fd), 0);
	assert_true(fd >= 0);
	early = user_read_all(fd, stream, STREAM);
	assert_true(early >= 0);
	assert_int_equal(ioctl(fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &info), 0);
	assert_int_equal(user_set(u, VFM_STATE_PRE_COPY_P2P, NULL), 0);
	assert_int_equal(user_set(u, VFM_STATE_STOP_COPY, NULL), 0);
	late = user_read_all(fd, stream + early, STREAM - (size_t)early);
	assert_true(late > 0 && early + late < STREAM);
	close(fd);
	return early + late;
}

static void one_round(unsigned n)
{
	static uint8_t stream[STREAM];
	struct user from, to;
	ssize_t size;
	int fd;

	user_open(&from, ONE);
	assert_int_equal(user_reset(&from), 0);
	log_dma(&from);
	size = save(&from, stream);
	user_open(&to, TWO);
	assert_int_equal(user_reset(&to), 0);
	assert_int_equal(user_set(&to, VFM_STATE_RESUMING, &fd), 0);
	assert_true(fd >= 0);
	assert_int_equal(user_write_all(fd, stream, (size_t)(n % 4 == 1 ? size / 2 : size)), 0);
	if (n % 4 == 1)
		assert_int_equal(user_reset(&to), 0); /* broken off */
	else if (n % 4 != 2)
		assert_int_equal(user_set(&to, VFM_STATE_RUNNING, NULL), 0);
	if (n % 2)
		close(fd);
	user_close(&to);
	if (!(n % 2))
		close(fd); /* after its device */
	user_close(&from);
}

/* What the last round left to be, whoever opens it. */
static void start_over(void)
{
	user_expect_works(ONE);
	user_expect_works(TWO);
}

static void nothing_is_left_behind(void **state)
{
	const char *kernel = getenv("MACHINE_KERNEL");
	bool watched = kernel && !strcmp(kernel, "full");
	unsigned rounds = watched ? ROUNDS_WATCHED : ROUNDS;
	static struct count was;

	for (unsigned n = 0; n < rounds; n++) {
		if (n == rounds / 10)
			count(&was);
		one_round(n);
	}
	start_over();
	if (watched)
		assert_int_equal(user_number_in("/sys/module/" USER_DRIVER "/refcnt"),
				 was.references);
	else
		expect_no_more(&was);
}

static int set_up(void **state)
{
	mdev_make(USER_DRIVER, USER_TYPE, ONE);
	mdev_make(USER_DRIVER, USER_TYPE, TWO);
	user_attribute(ONE, "state_size", "16K");
	user_attribute(TWO, "state_size", "16K");
	return 0;
}

static int tear_down(void **state)
{
	user_remove(ONE);
	user_remove(TWO);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_left_behind),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
