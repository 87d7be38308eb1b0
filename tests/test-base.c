/* SPDX-License-Identifier: BSD-3-Clause */
/* The leaves of src/base: each against a naive model or at its limits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bitmap.h"
#include "base/buffer.h"
#include "base/byteorder.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/thread.h"
#include "base/trace.h"

/* xorshift64: the same numbers in every run. */
static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t random_below(uint64_t *seed, uint64_t limit)
{
	return random_next(seed) % limit;
}

/* ---- bitmap ---- */

#define MAP_BITS   331u /* no multiple of a word */
#define MAP_WORDS  6u
#define MAP_ROUNDS 3000

/* The same bits twice: as a bitmap and as one byte each. */
struct model {
	uint64_t map[MAP_WORDS];
	uint8_t bit[MAP_WORDS * BITMAP_WORD_BITS];
	uint64_t seed;
};

static void model_compare(const struct model *model)
{
	for (uint64_t i = 0; i < ARRAY_SIZE(model->bit); i++)
		assert_int_equal(bitmap_test(model->map, i), model->bit[i]);
}

static void model_fill(struct model *model, uint64_t start, uint64_t len, uint8_t value)
{
	memset(model->bit + start, value, len);
}

/* A range inside the map; empty ones and whole ones happen too. */
static void model_range(struct model *model, uint64_t *start, uint64_t *len)
{
	*start = random_below(&model->seed, MAP_BITS + 1);
	*len = random_below(&model->seed, MAP_BITS + 1 - *start);
	if (random_below(&model->seed, 8) == 0)
		*len = MAP_BITS - *start;
}

static void model_take(struct model *model, uint64_t start, uint64_t len)
{
	uint64_t out[MAP_WORDS] = {0};
	uint64_t want = 0, taken = bitmap_take(model->map, out, start, len);

	for (uint64_t i = 0; i < ARRAY_SIZE(model->bit); i++) {
		bool inside = i >= start && i < start + len;

		assert_int_equal(bitmap_test(out, i), inside && model->bit[i]);
		want += inside && model->bit[i];
	}
	assert_int_equal(taken, want);
	model_fill(model, start, len, 0);
}

static void model_or(struct model *model)
{
	uint64_t src[MAP_WORDS] = {0};

	for (unsigned i = 0; i < 5; i++) {
		uint64_t bit = random_below(&model->seed, MAP_BITS);

		bitmap_set(src, bit);
		model->bit[bit] = 1;
	}
	bitmap_or_atomic(model->map, src, MAP_WORDS);
}

static void model_change(struct model *model)
{
	uint64_t start, len, bit = random_below(&model->seed, MAP_BITS);

	model_range(model, &start, &len);
	switch (random_below(&model->seed, 7)) {
	case 0:
		bitmap_set(model->map, bit);
		model->bit[bit] = 1;
		break;
	case 1:
		bitmap_clear(model->map, bit);
		model->bit[bit] = 0;
		break;
	case 2:
		bitmap_set_range(model->map, start, len);
		model_fill(model, start, len, 1);
		break;
	case 3:
		bitmap_clear_range(model->map, start, len);
		model_fill(model, start, len, 0);
		break;
	case 4:
		bitmap_set_range_atomic(model->map, start, len);
		model_fill(model, start, len, 1);
		break;
	case 5:
		model_or(model);
		break;
	default:
		model_take(model, start, len);
	}
}

static uint64_t model_find(const struct model *model, uint64_t bits, uint64_t from, uint8_t value)
{
	for (uint64_t i = from; i < bits; i++)
		if (model->bit[i] == value)
			return i;
	return bits;
}

static void model_query(struct model *model)
{
	uint64_t start, len, count = 0;
	uint64_t bits = random_below(&model->seed, MAP_BITS + 1);
	uint64_t from = random_below(&model->seed, MAP_BITS + 40); /* past the end too */

	model_range(model, &start, &len);
	for (uint64_t i = start; i < start + len; i++)
		count += model->bit[i];
	assert_int_equal(bitmap_count_range(model->map, start, len), count);
	assert_int_equal(bitmap_find_next_set(model->map, bits, from),
			 model_find(model, bits, from, 1));
	assert_int_equal(bitmap_find_next_zero(model->map, bits, from),
			 model_find(model, bits, from, 0));
}

static void test_bitmap_equals_a_naive_model(void **ctx)
{
	struct model model = {.seed = 0x9e3779b97f4a7c15};

	for (unsigned i = 0; i < MAP_ROUNDS; i++) {
		model_change(&model);
		model_compare(&model);
		model_query(&model);
	}
}

static void test_bitmap_words_never_wrap(void **ctx)
{
	assert_int_equal(bitmap_words(0), 0);
	assert_int_equal(bitmap_words(1), 1);
	assert_int_equal(bitmap_words(64), 1);
	assert_int_equal(bitmap_words(65), 2);
	assert_true(bitmap_words(UINT64_MAX) == UINT64_C(1) << 58);
}

static void test_bitmap_is_a_little_endian_bit_string(void **ctx)
{
	uint64_t map[2] = {0};
	uint8_t bytes[sizeof(map)];

	bitmap_set(map, 9);
	bitmap_set(map, 127);
	memcpy(bytes, map, sizeof(map));
	assert_int_equal(bytes[1], 1 << 1);
	assert_int_equal(bytes[15], 1 << 7);
}

#define RACE_WORDS 64u
#define RACE_BITS  (RACE_WORDS * BITMAP_WORD_BITS)

/* Each writer sets its own half of the bits once; the taker must get each bit exactly once. */
struct race {
	uint64_t map[RACE_WORDS];
	unsigned done; /* writers that ended, atomic */
};

struct racer {
	struct race *race;
	unsigned first;
};

static void race_write(void *arg)
{
	struct racer *racer = arg;

	for (uint64_t bit = racer->first; bit < RACE_BITS; bit += 2)
		bitmap_set_range_atomic(racer->race->map, bit, 1);
	__atomic_fetch_add(&racer->race->done, 1, __ATOMIC_RELEASE);
}

static void test_bitmap_take_loses_no_bit_to_writers(void **ctx)
{
	static struct race race;
	static uint64_t got[RACE_WORDS];
	struct racer racers[2] = {{&race, 0}, {&race, 1}};
	struct thread threads[2];
	uint64_t taken = 0;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(thread_start(&threads[i], NULL, "w", race_write, &racers[i]), 0);
	while (__atomic_load_n(&race.done, __ATOMIC_ACQUIRE) < 2)
		taken += bitmap_take(race.map, got, 0, RACE_BITS);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(thread_join(&threads[i]), 0);
	taken += bitmap_take(race.map, got, 0, RACE_BITS);
	assert_int_equal(taken, RACE_BITS);
	assert_int_equal(bitmap_count(got, RACE_BITS), RACE_BITS);
	assert_int_equal(bitmap_count(race.map, RACE_BITS), 0);
}

/* ---- checked ---- */

static void test_checked_arithmetic_tells_overflow(void **ctx)
{
	uint64_t out = 0;
	size_t size = 0;

	assert_true(checked_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
	assert_false(checked_add_u64(UINT64_MAX, 1, &out));
	assert_true(checked_sub_u64(5, 5, &out) && out == 0);
	assert_false(checked_sub_u64(5, 6, &out));
	assert_true(checked_mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &out));
	assert_true(out == UINT64_C(0xffffffff00000000));
	assert_false(checked_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
	assert_true(checked_add_size(SIZE_MAX, 0, &size) && size == SIZE_MAX);
	assert_false(checked_add_size(SIZE_MAX, 1, &size));
	assert_false(checked_mul_size(SIZE_MAX, 2, &size));
	assert_true(checked_mul_size(SIZE_MAX, 0, &size) && size == 0);
}

static void test_checked_ranges_at_their_edges(void **ctx)
{
	assert_true(range_within(0, 0, 0));
	assert_true(range_within(10, 0, 10));
	assert_false(range_within(11, 0, 10));
	assert_true(range_within(3, 7, 10));
	assert_false(range_within(3, 8, 10));
	assert_false(range_within(1, UINT64_MAX, UINT64_MAX));
	assert_true(range_within(0, UINT64_MAX, UINT64_MAX));
	assert_false(range_within(UINT64_MAX, 2, 1));
}

/* Sums of a byte-sized number line, where brute force can tell the truth. */
static bool share_a_byte(unsigned a, unsigned a_len, unsigned b, unsigned b_len)
{
	for (unsigned i = a; i < a + a_len; i++)
		if (i >= b && i < b + b_len)
			return true;
	return false;
}

static void test_checked_overlap_equals_brute_force(void **ctx)
{
	for (unsigned i = 0; i < 6 * 6 * 6 * 6; i++) {
		unsigned a = i % 6, a_len = i / 6 % 6, b = i / 36 % 6, b_len = i / 216;

		assert_int_equal(ranges_overlap(a, a_len, b, b_len),
				 share_a_byte(a, a_len, b, b_len));
	}
	assert_true(ranges_overlap(UINT64_MAX, 2, UINT64_MAX, 1));
	assert_true(ranges_overlap(0, UINT64_MAX, UINT64_MAX - 1, 5));
	assert_false(ranges_overlap(UINT64_MAX - 1, 1, UINT64_MAX, UINT64_MAX));
}

static void test_checked_alignment(void **ctx)
{
	uint64_t out = 0;

	assert_true(is_power_of_two(1) && is_power_of_two(UINT64_C(1) << 63));
	assert_false(is_power_of_two(0) || is_power_of_two(6));
	assert_true(is_aligned(8192, 4096) && !is_aligned(8193, 4096));
	assert_int_equal(align_down(8191, 4096), 4096);
	assert_true(checked_align_up(8193, 4096, &out) && out == 12288);
	assert_true(checked_align_up(8192, 4096, &out) && out == 8192);
	assert_false(checked_align_up(UINT64_MAX, 4096, &out));
	assert_int_equal(div_round_up(0, 7), 0);
	assert_int_equal(div_round_up(8, 7), 2);
	assert_true(div_round_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

/* ---- byte order ---- */

static void test_wire_integers_are_little_endian(void **ctx)
{
	struct {
		uint8_t shift; /* so that the rest is unaligned */
		le16 a;
		le32 b;
		le64 c;
	} wire = {0, put_le16(0x0102), put_le32(0x03040506), put_le64(0x0708090a0b0c0d0e)};
	static const uint8_t want[] = {
		0x00, 0x02, 0x01, 0x06, 0x05, 0x04, 0x03,
		0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07,
	};

	assert_int_equal(sizeof(wire), sizeof(want));
	assert_memory_equal(&wire, want, sizeof(want));
	assert_int_equal(get_le16(wire.a), 0x0102);
	assert_int_equal(get_le32(wire.b), 0x03040506);
	assert_true(get_le64(wire.c) == 0x0708090a0b0c0d0e);
}

/* ---- error ---- */

static void test_error_keeps_the_first_failure(void **ctx)
{
	struct vfm_error error = {.stage = VFM_STAGE_PRECOPY}, other = {.stage = VFM_STAGE_STOP};

	assert_int_equal(error_set_device(&error, ENOSPC, "nic0", "first %d", 1), -ENOSPC);
	assert_int_equal(error_set(&error, EINVAL, "second"), -EINVAL);
	assert_int_equal(error_set_arc(&error, EIO, "nic1", VFM_STATE_STOP, VFM_STATE_RUNNING, "t"),
			 -EIO);
	error_set(&other, EPIPE, "third");
	error_merge(&error, &other);
	assert_int_equal(error.code, ENOSPC);
	assert_int_equal(error.stage, VFM_STAGE_PRECOPY);
	assert_int_equal(error.has_arc, 0);
	assert_string_equal(error.device, "nic0");
	assert_string_equal(error.text, "first 1");
}

static void test_error_takes_any_code_and_no_sink(void **ctx)
{
	struct vfm_error error = {0};

	assert_int_equal(error_set(NULL, EINVAL, "nobody listens"), -EINVAL);
	assert_int_equal(error_set(NULL, -EINVAL, "nobody listens"), -EINVAL);
	assert_int_equal(error_set(NULL, INT_MIN, "nobody listens"), -EIO);
	assert_int_equal(error_set(&error, 0, "a failure is never a success"), -EIO);
	assert_int_equal(error.code, EIO);
	error_merge(NULL, &error);
	error_merge(&error, NULL);
}

static void test_error_merge_copies_all_of_it_once(void **ctx)
{
	struct vfm_error error = {.stage = VFM_STAGE_STOPCOPY}, empty = {0};
	struct vfm_error from = {.stage = VFM_STAGE_PREPARE, .remote = 1};

	error_merge(&error, &empty);
	assert_int_equal(error.code, 0);
	assert_int_equal(error.stage, VFM_STAGE_STOPCOPY);
	error_set_arc(&from, EFAULT, "nic0", VFM_STATE_RESUMING, VFM_STATE_STOP, "bad header");
	error_merge(&error, &from);
	assert_memory_equal(&error, &from, sizeof(error));
}

static void test_error_is_formatted_as_one_line(void **ctx)
{
	struct vfm_error error = {.stage = VFM_STAGE_STOPCOPY}, plain = {0}, peer = {0};
	struct vfm_error odd = {0};
	char line[256];

	error_set_arc(&error, EINVAL, "nic0", VFM_STATE_RESUMING, VFM_STATE_STOP, "text");
	error_format(&error, line, sizeof(line));
	assert_string_equal(line,
			    "stop-copy: device nic0: RESUMING -> STOP: Invalid argument: text");
	error_set(&plain, ENOENT, "%s", "");
	error_format(&plain, line, sizeof(line));
	assert_string_equal(line, "No such file or directory");
	error_set(&odd, 99999, "two\nlines\x1b[2J");
	error_format(&odd, line, sizeof(line));
	assert_string_equal(line, "errno 99999: two?lines?[2J");
	peer.stage = VFM_STAGE_HELLO;
	peer.remote = 1;
	error_set(&peer, EPROTO, "version 9");
	error_format(&peer, line, sizeof(line));
	assert_string_equal(line, "hello: peer: Protocol error: version 9");
}

static void test_error_format_stays_inside_its_buffer(void **ctx)
{
	struct vfm_error error = {.code = EINVAL, .stage = VFM_STAGE_STOP};
	char whole[2048], line[64];

	/* A peer's record need not have its NULs. */
	memset(error.device, 'd', sizeof(error.device));
	memset(error.text, 't', sizeof(error.text));
	error_format(&error, whole, sizeof(whole));
	assert_int_equal(strlen(whole), strlen("stop: device : Invalid argument: ") +
						VFM_NAME_MAX - 1 + VFM_ERROR_TEXT_MAX - 1);
	for (size_t size = 0; size < sizeof(line); size++) {
		memset(line, '#', sizeof(line));
		error_format(&error, line, size);
		assert_int_equal(line[size], '#');
		if (size)
			assert_int_equal(strlen(line), size - 1);
		assert_memory_equal(line, whole, size ? size - 1 : 0);
	}
	error_format(NULL, line, sizeof(line));
	assert_string_equal(line, "");
}

static void test_error_cuts_long_parts(void **ctx)
{
	struct vfm_error error = {0};
	char big[2 * VFM_ERROR_TEXT_MAX];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	error_set_device(&error, EINVAL, big, "%s", big);
	assert_int_equal(strlen(error.device), VFM_NAME_MAX - 1);
	assert_int_equal(strlen(error.text), VFM_ERROR_TEXT_MAX - 1);
}

static void test_stages_have_names(void **ctx)
{
	static const char *const names[VFM_STAGE_COUNT] = {
		"none", "hello", "describe", "set-up", "pre-copy", "stop",
		"stop-copy", "prepare", "commit", "release", "done",
	};

	for (unsigned stage = 0; stage < VFM_STAGE_COUNT; stage++)
		assert_string_equal(vfm_stage_name(stage), names[stage]);
	assert_string_equal(vfm_stage_name(VFM_STAGE_COUNT), "invalid");
	assert_string_equal(vfm_stage_name((enum vfm_stage) - 1), "invalid");
}

/* ---- queue ---- */

struct item {
	char pad; /* the node is not first */
	struct queue_node node;
	unsigned number;
};

static void test_queue_is_first_in_first_out(void **ctx)
{
	struct queue queue = {0};
	struct item items[5] = {{0}};

	assert_null(QUEUE_ENTRY(queue_pop(&queue), struct item, node));
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
			items[i].number = i;
			queue_push(&queue, &items[i].node);
			assert_int_equal(queue.count, i + 1);
		}
		assert_ptr_equal(queue_peek(&queue), &items[0].node);
		for (unsigned i = 0; i < ARRAY_SIZE(items); i++)
			assert_int_equal(
				QUEUE_ENTRY(queue_pop(&queue), struct item, node)->number, i);
		assert_true(queue_empty(&queue));
		assert_int_equal(queue.count, 0);
		assert_null(queue_peek(&queue));
	}
}

static void test_queue_takes_one_back_at_its_front(void **ctx)
{
	struct queue queue = {0};
	struct item a = {0}, b = {0}, c = {0};

	queue_push_front(&queue, &b.node);
	queue_push(&queue, &c.node);
	queue_push_front(&queue, &a.node);
	assert_int_equal(queue.count, 3);
	assert_ptr_equal(queue_pop(&queue), &a.node);
	assert_ptr_equal(queue_pop(&queue), &b.node);
	assert_ptr_equal(queue_pop(&queue), &c.node);
	assert_null(queue_pop(&queue));
}

/* ---- buffer ---- */

static void test_buffer_holds_what_was_appended(void **ctx)
{
	struct vfm_buffer buffer;
	uint8_t want[10000];
	size_t used = 0;
	uint64_t seed = 7;

	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)random_next(&seed);
	buffer_init(&buffer, sizeof(want));
	while (used < sizeof(want)) {
		size_t size = MIN(random_below(&seed, 400), sizeof(want) - used);

		assert_int_equal(vfm_buffer_append(&buffer, want + used, size), 0);
		used += size;
		assert_int_equal(buffer_size(&buffer), used);
		assert_true(buffer.capacity <= buffer.limit);
	}
	assert_memory_equal(buffer_data(&buffer), want, sizeof(want));
	buffer_free(&buffer);
	assert_int_equal(buffer_size(&buffer), 0);
	assert_null(buffer_data(&buffer));
	assert_int_equal(vfm_buffer_append(&buffer, want, 1), 0);
	buffer_free(&buffer);
}

static void test_buffer_keeps_its_limit(void **ctx)
{
	struct vfm_buffer buffer;

	buffer_init(&buffer, 10);
	assert_int_equal(vfm_buffer_append(&buffer, "0123456", 7), 0);
	assert_int_equal(vfm_buffer_append(&buffer, "0123", 4), -EFBIG);
	assert_int_equal(vfm_buffer_append(&buffer, "0", SIZE_MAX), -EFBIG);
	assert_int_equal(buffer_size(&buffer), 7);
	assert_int_equal(vfm_buffer_append(&buffer, "789", 3), 0);
	assert_int_equal(vfm_buffer_append(&buffer, NULL, 0), 0);
	assert_int_equal(vfm_buffer_append(&buffer, "x", 1), -EFBIG);
	assert_memory_equal(buffer_data(&buffer), "0123456789", 10);
	buffer_clear(&buffer);
	assert_int_equal(vfm_buffer_append(&buffer, "abc", 3), 0);
	assert_memory_equal(buffer_data(&buffer), "abc", buffer_size(&buffer));
	buffer_free(&buffer);
	buffer_init(&buffer, 0);
	assert_int_equal(vfm_buffer_append(&buffer, "x", 1), -EFBIG);
	assert_int_equal(vfm_buffer_append(&buffer, NULL, 0), 0);
	buffer_free(&buffer);
}

/* ---- log ---- */

struct heard {
	unsigned lines;
	enum vfm_log_level level;
	char text[2 * LOG_LINE_MAX];
};

static void hear(void *opaque, enum vfm_log_level level, const char *line)
{
	struct heard *heard = opaque;

	heard->lines++;
	heard->level = level;
	snprintf(heard->text, sizeof(heard->text), "%s", line);
}

static void test_log_hands_over_clean_bounded_lines(void **ctx)
{
	struct heard heard = {0};
	struct log_sink sink = {.fn = hear, .opaque = &heard}, deaf = {0};
	char big[2 * LOG_LINE_MAX];

	log_line(NULL, VFM_LOG_ERROR, "nobody listens");
	log_line(&deaf, VFM_LOG_ERROR, "nobody listens");
	log_line(&sink, VFM_LOG_WARN, "a %d\nb", 1);
	assert_int_equal(heard.lines, 1);
	assert_int_equal(heard.level, VFM_LOG_WARN);
	assert_string_equal(heard.text, "a 1?b");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_line(&sink, VFM_LOG_DEBUG, "%s", big);
	assert_int_equal(heard.lines, 2);
	assert_int_equal(strlen(heard.text), LOG_LINE_MAX - 1);
}

/* ---- thread ---- */

/* What a thread saw of itself. */
struct self {
	sigset_t mask;
	char name[THREAD_NAME_MAX];
	unsigned runs;
};

static void look_at_self(void *arg)
{
	struct self *self = arg;

	pthread_sigmask(SIG_BLOCK, NULL, &self->mask);
	pthread_getname_np(pthread_self(), self->name, sizeof(self->name));
	self->runs++;
}

/* Every signal that a program can block. */
static void assert_all_blocked(const sigset_t *mask)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		bool reserved = sig > SIGSYS && sig < SIGRTMIN; /* the C library's own */

		if (sig != SIGKILL && sig != SIGSTOP && !reserved)
			assert_int_equal(sigismember(mask, sig), 1);
	}
}

static void assert_same_mask(const sigset_t *a, const sigset_t *b)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		assert_int_equal(sigismember(a, sig), sigismember(b, sig));
}

static void test_thread_blocks_every_signal_and_has_its_name(void **ctx)
{
	struct self self = {.runs = 0};
	struct thread thread = {0};
	sigset_t before, after;

	pthread_sigmask(SIG_BLOCK, NULL, &before);
	assert_int_equal(sigismember(&before, SIGUSR1), 0);
	assert_int_equal(thread_start(&thread, NULL, "vfm-a-name-too-long", look_at_self, &self),
			 0);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	assert_int_equal(thread_join(&thread), 0);
	assert_int_equal(thread_join(&thread), 0);
	assert_same_mask(&before, &after);
	assert_all_blocked(&self.mask);
	assert_string_equal(self.name, "vfm-a-name-too-");
	assert_int_equal(self.runs, 1);
}

/* A VMM's way to make threads, with a signal left open on purpose. */
struct vmm {
	int fail; /* what create answers */
	unsigned created;
	unsigned joined;
	char name[THREAD_NAME_MAX];
};

struct vmm_thread {
	pthread_t id;
	void (*run)(void *arg);
	void *arg;
};

static void *vmm_main(void *arg)
{
	struct vmm_thread *thread = arg;
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	thread->run(thread->arg);
	return NULL;
}

static int vmm_create(void *opaque, const char *name, void (*run)(void *arg), void *arg,
		      void **handle)
{
	struct vmm *vmm = opaque;
	CLEANUP(cleanup_free) struct vmm_thread *thread = NULL;
	int ret;

	if (vmm->fail)
		return vmm->fail;
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return -ENOMEM;
	*thread = (struct vmm_thread){.run = run, .arg = arg};
	snprintf(vmm->name, sizeof(vmm->name), "%s", name);
	ret = -pthread_create(&thread->id, NULL, vmm_main, thread);
	if (ret == 0) {
		vmm->created++;
		*handle = TAKE_PTR(thread);
	}
	return ret;
}

static int vmm_join(void *opaque, void *handle)
{
	struct vmm *vmm = opaque;
	CLEANUP(cleanup_free) struct vmm_thread *thread = handle;

	vmm->joined++;
	return -pthread_join(thread->id, NULL);
}

static struct vfm_thread_hooks vmm_hooks(struct vmm *vmm)
{
	return (struct vfm_thread_hooks){
		.size = sizeof(struct vfm_thread_hooks),
		.opaque = vmm,
		.create = vmm_create,
		.join = vmm_join,
	};
}

static void test_thread_of_a_hook_blocks_every_signal(void **ctx)
{
	struct vmm vmm = {.fail = 0};
	struct vfm_thread_hooks hooks = vmm_hooks(&vmm);
	struct self self = {.runs = 0};
	struct thread thread = {0};

	assert_int_equal(thread_start(&thread, &hooks, "vfm-steer", look_at_self, &self), 0);
	memset(&hooks, 0, sizeof(hooks)); /* the table was copied */
	assert_int_equal(thread_join(&thread), 0);
	assert_int_equal(thread_join(&thread), 0);
	assert_all_blocked(&self.mask);
	assert_int_equal(self.runs, 1);
	assert_int_equal(vmm.created, 1);
	assert_int_equal(vmm.joined, 1);
	assert_string_equal(vmm.name, "vfm-steer");
}

static void test_thread_hooks_that_cannot_work_are_refused(void **ctx)
{
	struct vmm vmm = {.fail = -EAGAIN};
	struct vfm_thread_hooks good = vmm_hooks(&vmm), small = good, nojoin = good, empty = good;
	struct self self = {.runs = 0};
	struct thread thread = {0};

	small.size--;
	nojoin.join = NULL;
	empty.create = NULL;
	assert_int_equal(thread_start(&thread, &small, "t", look_at_self, &self), -EINVAL);
	assert_int_equal(thread_start(&thread, &nojoin, "t", look_at_self, &self), -EINVAL);
	assert_int_equal(thread_start(&thread, &empty, "t", look_at_self, &self), -EINVAL);
	assert_int_equal(thread_start(&thread, &good, "t", look_at_self, &self), -EAGAIN);
	assert_int_equal(thread_join(&thread), 0);
	assert_int_equal(vmm.joined, 0);
	assert_int_equal(self.runs, 0);
}

/* ---- the rest ---- */

static void test_cleanup_closes_and_keeps_errno(void **ctx)
{
	int kept, closed;

	{
		CLEANUP(cleanup_close) int none = -1;
		CLEANUP(cleanup_close) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		CLEANUP(cleanup_close) int taken = open("/dev/null", O_RDONLY | O_CLOEXEC);

		assert_true(none == -1 && fd >= 0 && taken >= 0);
		closed = fd;
		kept = take_fd(&taken);
		errno = EXDEV;
	}
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fcntl(closed, F_GETFD), -1);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	close(kept);
}

static void test_clock_never_goes_back(void **ctx)
{
	uint64_t last = clock_ns();

	assert_true(last > 0);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now = clock_ns();

		assert_true(now >= last);
		last = now;
	}
}

/* Compiles in each form; what a tracer would see is not looked at here. */
static void test_trace_points_take_none_to_many_arguments(void **ctx)
{
	uint64_t bytes = 5;

	VFM_TRACE(test_none);
	VFM_TRACE(test_one, bytes);
	VFM_TRACE(test_many, "device", bytes, 3, 4, 5, 6);
	assert_int_equal(bytes, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bitmap_equals_a_naive_model),
		cmocka_unit_test(test_bitmap_words_never_wrap),
		cmocka_unit_test(test_bitmap_is_a_little_endian_bit_string),
		cmocka_unit_test(test_bitmap_take_loses_no_bit_to_writers),
		cmocka_unit_test(test_checked_arithmetic_tells_overflow),
		cmocka_unit_test(test_checked_ranges_at_their_edges),
		cmocka_unit_test(test_checked_overlap_equals_brute_force),
		cmocka_unit_test(test_checked_alignment),
		cmocka_unit_test(test_wire_integers_are_little_endian),
		cmocka_unit_test(test_error_keeps_the_first_failure),
		cmocka_unit_test(test_error_takes_any_code_and_no_sink),
		cmocka_unit_test(test_error_merge_copies_all_of_it_once),
		cmocka_unit_test(test_error_is_formatted_as_one_line),
		cmocka_unit_test(test_error_format_stays_inside_its_buffer),
		cmocka_unit_test(test_error_cuts_long_parts),
		cmocka_unit_test(test_stages_have_names),
		cmocka_unit_test(test_queue_is_first_in_first_out),
		cmocka_unit_test(test_queue_takes_one_back_at_its_front),
		cmocka_unit_test(test_buffer_holds_what_was_appended),
		cmocka_unit_test(test_buffer_keeps_its_limit),
		cmocka_unit_test(test_log_hands_over_clean_bounded_lines),
		cmocka_unit_test(test_thread_blocks_every_signal_and_has_its_name),
		cmocka_unit_test(test_thread_of_a_hook_blocks_every_signal),
		cmocka_unit_test(test_thread_hooks_that_cannot_work_are_refused),
		cmocka_unit_test(test_cleanup_closes_and_keeps_errno),
		cmocka_unit_test(test_clock_never_goes_back),
		cmocka_unit_test(test_trace_points_take_none_to_many_arguments),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
