/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reference VMM without devices: the guest boots, beats and works on each accelerator; stops
 * and goes on; its state moves into a second VM object together with its memory; the dirty log
 * misses no page that changed; hostile state is refused. Where there is no KVM its tests are
 * skipped, said aloud.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/bitmap.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "vmm/accel.h"
#include "vmm/layout.h"
#include "vmm/vm.h"

#define MEMORY  (16ull << 20)
#define SET     (2ull << 20)
#define RATE    (16ull << 20)
#define PATIENCE_NS (20 * NS_PER_SEC)

struct watch {
	unsigned notices;
};

static void on_notice(void *opaque, enum vmm_notice notice)
{
	struct watch *w = opaque;

	__atomic_or_fetch(&w->notices, notice, __ATOMIC_ACQ_REL);
}

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	if (level <= VFM_LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

/* A VM on @accel, or NULL where this machine has none. */
static struct vmm *make(const char *accel, unsigned cpus, bool incoming, struct watch *watch)
{
	struct vmm_config config = {
		.memory = MEMORY, .working_set = SET, .dirty_rate = RATE, .cpus = cpus,
		.accel = accel, .incoming = incoming, .opaque = watch, .log = on_log,
		.notice = on_notice,
	};
	char why[VMM_WHY_MAX] = "";
	struct vmm *vm = NULL;
	int ret;

	memset(watch, 0, sizeof(*watch));
	ret = vmm_new(&config, &vm, why);
	if (ret == -ENODEV || ret == -EACCES) {
		print_message("[  SKIPPED ] %s\n", why);
		return NULL;
	}
	if (ret < 0)
		fail_msg("%s", why);
	return vm;
}

#define MAKE(vm, accel, cpus, incoming, watch)                                                     \
	struct vmm *vm = make(accel, cpus, incoming, watch);                                       \
	if (!vm)                                                                                   \
	skip()

static uint64_t beats(const struct vmm *vm, unsigned cpu)
{
	return __atomic_load_n(&vmm_shared(vm)->cpu[cpu].heartbeat, __ATOMIC_ACQUIRE);
}

static void nap(void)
{
	struct timespec ms = {0, 1000000};

	nanosleep(&ms, NULL);
}

static void wait_beats(const struct vmm *vm, unsigned cpu, uint64_t at_least)
{
	uint64_t end = clock_ns() + PATIENCE_NS;

	while (beats(vm, cpu) < at_least && clock_ns() < end)
		nap();
	assert_true(beats(vm, cpu) >= at_least);
}

static void wait_sweeps(const struct vmm *vm, unsigned cpu, uint64_t at_least)
{
	uint64_t end = clock_ns() + PATIENCE_NS, sweeps = 0;

	while (sweeps < at_least && clock_ns() < end) {
		nap();
		sweeps = __atomic_load_n(&vmm_shared(vm)->cpu[cpu].sweeps, __ATOMIC_ACQUIRE);
	}
	assert_true(sweeps >= at_least);
}

static void assert_healthy(const struct vmm *vm, const struct watch *watch)
{
	const struct guest_failure *f = &vmm_shared(vm)->failure;

	if (f->kind)
		fail_msg("guest failed: kind %u at 0x%llx expected 0x%llx found 0x%llx", f->kind,
			 (unsigned long long)f->address, (unsigned long long)f->expected,
			 (unsigned long long)f->found);
	assert_int_equal(watch->notices, 0);
}

/* Every word of every page. The VM is stopped. */
static void assert_working_set(const struct vmm *vm)
{
	uint64_t page, tag;

	for (page = 0; page < vm->params.working_pages; page++)
		assert_int_equal(layout_check_page(vm, page, &tag), 0);
}

static const char *accel_of(void **state)
{
	return *state;
}

static void test_boots_and_works(void **state)
{
	struct watch watch;
	unsigned i;

	MAKE(vm, accel_of(state), 2, false, &watch);
	assert_int_equal(beats(vm, 0), 0);
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	for (i = 0; i < 2; i++) {
		wait_beats(vm, i, 10);
		wait_sweeps(vm, i, 1);
	}
	assert_int_equal(vmm_hold(vm, VMM_HOLD_USER), 0);
	assert_healthy(vm, &watch);
	assert_int_equal(vmm_shared(vm)->up, 2);
	assert_working_set(vm);
	vmm_free(vm);
}

static void test_stops_and_goes_on(void **state)
{
	struct watch watch;
	uint64_t before;
	uint8_t *copy;
	unsigned i;

	MAKE(vm, accel_of(state), 2, false, &watch);
	copy = malloc(MEMORY);
	assert_non_null(copy);
	for (i = 0; i < 20; i++) {
		assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
		wait_beats(vm, 0, i + 1);
		assert_int_equal(vmm_hold(vm, VMM_HOLD_USER), 0);
		assert_int_equal(vmm_hold(vm, VMM_HOLD_MIGRATION), 0);
		assert_int_equal(vmm_release(vm, VMM_HOLD_MIGRATION), 0);
		before = beats(vm, 0);
		memcpy(copy, vm->memory.base, MEMORY);
		nap();
		assert_int_equal(before, beats(vm, 0));
		assert_memory_equal(copy, vm->memory.base, MEMORY);
	}
	assert_healthy(vm, &watch);
	free(copy);
	vmm_free(vm);
}

static void save(struct vmm *vm, struct vfm_buffer *out)
{
	buffer_init(out, VFM_VM_STATE_MAX);
	assert_int_equal(vmm_ops.save(vm, out), 0);
	assert_true(buffer_size(out) > 100);
}

/* Memory and state from one VM to another, both stopped. Loading writes to no page. */
static struct vmm *move(struct vmm *from, const char *accel, struct watch *watch)
{
	struct vmm *to = make(accel, 2, true, watch);
	struct vfm_buffer blob;

	assert_non_null(to);
	to->params.working_pages = 1; /* an option of the side that does not count */
	to->params.pages_per_sec = 1;
	save(from, &blob);
	memcpy(to->memory.base, from->memory.base, MEMORY);
	assert_int_equal(vmm_ops.load(to, buffer_data(&blob), buffer_size(&blob)), 0);
	assert_memory_equal(to->memory.base, from->memory.base, MEMORY);
	buffer_free(&blob);
	vmm_free(from);
	return to;
}

/* The last VM goes on where the first stood: heart, clock, working set. */
static void goes_on(struct vmm *to, struct watch *watch)
{
	uint64_t before[2] = {beats(to, 0), beats(to, 1)};
	uint64_t ns = vmm_shared(to)->cpu[0].heartbeat_ns;
	unsigned i;

	assert_int_equal(vmm_ops.run(to), 0);
	nap();
	assert_int_equal(beats(to, 0), before[0]); /* not ours yet */
	vmm_ops.owned(to);
	for (i = 0; i < 2; i++) {
		wait_beats(to, i, before[i] + 10);
		wait_sweeps(to, i, 1);
	}
	assert_int_equal(vmm_hold(to, VMM_HOLD_USER), 0);
	assert_healthy(to, watch);
	assert_true(vmm_shared(to)->cpu[0].heartbeat_ns > ns);
	assert_true(vmm_shared(to)->cpu[0].heartbeat_ns - ns < 2 * PATIENCE_NS);
	assert_working_set(to);
}

static void test_moves(void **state)
{
	struct watch watch[3];

	MAKE(vm, accel_of(state), 2, false, &watch[0]);
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	wait_beats(vm, 0, 5);
	wait_beats(vm, 1, 5);
	assert_int_equal(vmm_ops.stop(vm), 0);
	vm = move(vm, accel_of(state), &watch[1]);
	goes_on(vm, &watch[1]);
	vmm_free(vm);
}

/* A VM that came, never ran, and leaves again. */
static void test_moves_twice(void **state)
{
	struct watch watch[3];

	MAKE(vm, accel_of(state), 2, false, &watch[0]);
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	wait_beats(vm, 0, 5);
	wait_beats(vm, 1, 5);
	assert_int_equal(vmm_ops.stop(vm), 0);
	vm = move(vm, accel_of(state), &watch[1]);
	vm = move(vm, accel_of(state), &watch[2]);
	goes_on(vm, &watch[2]);
	vmm_free(vm);
}

/* What its user had stopped arrives stopped. */
static void test_arrives_paused(void **state)
{
	struct watch watch[2];

	MAKE(vm, accel_of(state), 2, false, &watch[0]);
	vm = move(vm, accel_of(state), &watch[1]);
	vmm_ops.owned(vm);
	assert_int_equal(vmm_ops.run(vm), 0);
	assert_int_equal(vmm_holds(vm), VMM_HOLD_USER);
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	wait_beats(vm, 0, 3);
	vmm_free(vm);
}

/* A page that changed while nobody looked is in the log: memory is copied when the log starts, then
 * the pages of the log again and again, and is equal in the end. */
static void test_dirty_log(void **state)
{
	uint64_t pages = MEMORY / GUEST_PAGE, i, marked = 0;
	struct watch watch;
	uint64_t *bitmap;
	uint8_t *copy;
	int round;

	MAKE(vm, accel_of(state), 2, false, &watch);
	copy = malloc(MEMORY);
	bitmap = calloc(bitmap_words(pages), 8);
	assert_non_null(copy);
	assert_non_null(bitmap);
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	wait_beats(vm, 0, 2);
	assert_int_equal(vmm_ops.dirty_start(vm), 0);
	memcpy(copy, vm->memory.base, MEMORY);
	for (round = 0; round < 10; round++) {
		wait_beats(vm, 0, beats(vm, 0) + 3);
		if (round == 9)
			assert_int_equal(vmm_ops.stop(vm), 0);
		memset(bitmap, 0, bitmap_words(pages) * 8);
		assert_int_equal(vmm_ops.dirty_sync(vm, 0, bitmap), 0);
		marked = bitmap_count(bitmap, pages);
		for (i = 0; i < pages; i++)
			if (bitmap_test(bitmap, i))
				memcpy(copy + i * GUEST_PAGE, vm->memory.base + i * GUEST_PAGE,
				       GUEST_PAGE);
	}
	assert_true(marked > 0 && marked < pages / 2);
	for (i = 0; i < pages; i++)
		if (memcmp(copy + i * GUEST_PAGE, vm->memory.base + i * GUEST_PAGE, GUEST_PAGE))
			fail_msg("page %llu changed and was not logged", (unsigned long long)i);
	assert_int_equal(vmm_ops.dirty_stop(vm), 0);
	assert_healthy(vm, &watch);
	free(copy);
	free(bitmap);
	vmm_free(vm);
}

/* A lost page: the guest finds it, says which and stops. */
static void expect_failure(const char *accel, uint64_t offset, enum guest_failure_kind kind)
{
	uint64_t end = clock_ns() + PATIENCE_NS, beat;
	struct watch watch;
	struct vmm *vm = make(accel, 1, false, &watch);
	uint64_t *word;

	assert_non_null(vm);
	word = (uint64_t *)(vm->memory.base + vm->params.working_set + offset);
	*word ^= 1ull << 40;
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	while (!__atomic_load_n(&watch.notices, __ATOMIC_ACQUIRE) && clock_ns() < end)
		nap();
	assert_int_equal(watch.notices, VMM_NOTICE_PANIC);
	assert_int_equal(vmm_shared(vm)->failures, 1);
	assert_int_equal(vmm_shared(vm)->failure.kind, kind);
	assert_int_equal(vmm_shared(vm)->failure.address, vm->params.working_set + offset);
	beat = beats(vm, 0);
	nap();
	assert_int_equal(beats(vm, 0), beat);
	vmm_free(vm);
}

static void test_finds_wrong_bytes(void **state)
{
	struct watch watch;

	MAKE(vm, accel_of(state), 1, false, &watch);
	vmm_free(vm);
	expect_failure(accel_of(state), 7 * GUEST_PAGE, GUEST_FAIL_TAG);
	expect_failure(accel_of(state), 9 * GUEST_PAGE + 8, GUEST_FAIL_WORD);
}

/* No blob that was cut or altered makes the VM do more than refuse it. Some alterations are legal
 * values; then it is taken. */
static void test_hostile_state(void **state)
{
	struct watch watch, watch2;
	struct vfm_buffer blob;
	unsigned i, refused = 0;
	uint32_t seed = 1;
	struct vmm *to;
	uint8_t *bad;
	size_t size;

	MAKE(from, accel_of(state), 1, false, &watch);
	to = make(accel_of(state), 1, true, &watch2);
	assert_non_null(to);
	save(from, &blob);
	size = buffer_size(&blob);
	to->config.log = NULL;
	for (i = 0; i < size; i += i < 200 ? 1 : 97)
		assert_true(vmm_ops.load(to, buffer_data(&blob), i) < 0);
	for (i = 0; i < 300; i++) {
		bad = malloc(size);
		assert_non_null(bad);
		memcpy(bad, buffer_data(&blob), size);
		seed = seed * 1664525u + 1013904223u;
		bad[seed % size] ^= (uint8_t)(1u << (seed >> 29));
		refused += vmm_ops.load(to, bad, size) < 0;
		free(bad);
	}
	assert_true(refused > 0);
	bad = calloc(1, size + 1);
	memcpy(bad, buffer_data(&blob), size);
	assert_true(vmm_ops.load(to, bad, size + 1) < 0);
	free(bad);
	assert_int_equal(vmm_ops.load(to, buffer_data(&blob), size), 0);
	buffer_free(&blob);
	vmm_free(from);
	vmm_free(to);
}

/* Another shape of VM is refused before anything is loaded. */
static void test_other_shape(void **state)
{
	struct watch watch, watch2;
	struct vfm_buffer blob;
	struct vmm *to;

	MAKE(from, accel_of(state), 1, false, &watch);
	to = make(accel_of(state), 2, true, &watch2);
	assert_non_null(to);
	to->config.log = NULL;
	save(from, &blob);
	assert_int_equal(vmm_ops.load(to, buffer_data(&blob), buffer_size(&blob)), -EINVAL);
	buffer_free(&blob);
	vmm_free(from);
	vmm_free(to);
}

static void test_configurations(void **state)
{
	struct vmm_config config = {.memory = MEMORY, .working_set = MEMORY, .cpus = 1,
				    .accel = "thread"};
	char why[VMM_WHY_MAX] = "";
	struct vmm *vm;

	assert_int_equal(vmm_new(&config, &vm, why), -ERANGE);
	assert_null(vm);
	assert_non_null(strstr(why, "--working-set"));
	config.working_set = 0;
	config.accel = "none";
	assert_true(vmm_new(&config, &vm, why) < 0);
	assert_non_null(strstr(why, "none"));
	config.accel = "auto";
	assert_int_equal(vmm_new(&config, &vm, why), 0);
	assert_non_null(vm->accel);
	vmm_free(vm);
	config.memory = 5ull << 30; /* both sides of the hole */
	assert_int_equal(vmm_new(&config, &vm, why), 0);
	assert_int_equal(vm->memory.count, 2);
	vmm_free(vm);
}

#define ON(test, accel)                                                                            \
	{                                                                                          \
		.name = #test "/" accel, .test_func = test,                                        \
		.initial_state = (void *)(uintptr_t)accel                                          \
	}
#define BOTH(test) ON(test, "kvm"), ON(test, "thread")

/* An argument is a filter: test_moves* */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_boots_and_works),
		BOTH(test_stops_and_goes_on),
		BOTH(test_moves),
		BOTH(test_moves_twice),
		BOTH(test_arrives_paused),
		BOTH(test_dirty_log),
		BOTH(test_finds_wrong_bytes),
		BOTH(test_hostile_state),
		BOTH(test_other_shape),
		cmocka_unit_test(test_configurations),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
