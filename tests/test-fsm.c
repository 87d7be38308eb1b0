/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state machine against the prose of linux/vfio.h (enum vfio_device_mig_state).
 *
 * The prose lists arcs and gives rules for everything else. Here the arcs are listed once more, the
 * rules are written as predicates, and a search finds the paths; the table in src/fsm/fsm.c must
 * give the same ones for every pair of states and every set of capabilities:
 *
 *   1. the shortest path is taken (the search also shows that there is only one);
 *   2. no saving state lies inside a path, except on a path within the saving group, whose session
 *      goes on;
 *   3. a device without P2P acts as though its P2P states were the fully running ones;
 *   4. without PRE_COPY the arcs that touch PRE_COPY and PRE_COPY_P2P do not exist;
 *   5. STOP_COPY to PRE_COPY or PRE_COPY_P2P is not permitted;
 *   6. ERROR cannot be asked for, and no arc leaves it;
 *   7. an optional state cannot be asked for where it is not supported.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/compiler.h"
#include "fsm/fsm.h"

#define ERROR        VFM_STATE_ERROR
#define STOP         VFM_STATE_STOP
#define RUNNING      VFM_STATE_RUNNING
#define STOP_COPY    VFM_STATE_STOP_COPY
#define RESUMING     VFM_STATE_RESUMING
#define RUNNING_P2P  VFM_STATE_RUNNING_P2P
#define PRE_COPY     VFM_STATE_PRE_COPY
#define PRE_COPY_P2P VFM_STATE_PRE_COPY_P2P
#define COUNT        VFM_STATE_COUNT

#define CAPS_COUNT 8u /* every combination of the three bits */
#define CAPS_ALL   7u

/* The arcs of the prose, in its order. */
static const enum vfm_state prose_arcs[][2] = {
	{RUNNING_P2P, STOP},
	{STOP_COPY, STOP},
	{RESUMING, STOP},
	{PRE_COPY, RUNNING},
	{RUNNING_P2P, RUNNING},
	{PRE_COPY_P2P, RUNNING_P2P},
	{RUNNING, RUNNING_P2P},
	{STOP, RUNNING_P2P},
	{RUNNING, PRE_COPY},
	{RUNNING_P2P, PRE_COPY_P2P},
	{STOP, STOP_COPY},
	{PRE_COPY, PRE_COPY_P2P},
	{PRE_COPY_P2P, PRE_COPY},
	{PRE_COPY_P2P, STOP_COPY},
	{STOP, RESUMING},
};

struct graph {
	unsigned caps;
	bool arc[COUNT][COUNT];
};

struct path {
	enum vfm_state state[COUNT + 1]; /* state[0] is the start */
	unsigned len;                    /* arcs */
};

struct search {
	const struct graph *graph;
	enum vfm_state to;
	struct path path; /* in the making */
	unsigned want;    /* its length when it is done */
	struct path found;
	unsigned count;
};

static bool saving(enum vfm_state state)
{
	return state == STOP_COPY || state == PRE_COPY || state == PRE_COPY_P2P;
}

static bool needs_precopy(enum vfm_state state)
{
	return state == PRE_COPY || state == PRE_COPY_P2P;
}

static bool needs_p2p(enum vfm_state state)
{
	return state == RUNNING_P2P || state == PRE_COPY_P2P;
}

/* Rule 7. ERROR exists as a state but is never a place to go. */
static bool exists(enum vfm_state state, unsigned caps)
{
	if (!(caps & VFM_MIG_STOP_COPY) || (unsigned)state >= COUNT)
		return false;
	if (needs_p2p(state) && !(caps & VFM_MIG_P2P))
		return false;
	return !needs_precopy(state) || caps & VFM_MIG_PRE_COPY;
}

/* Rule 3: the state that stands for @state. */
static enum vfm_state folded(enum vfm_state state, unsigned caps)
{
	if (caps & VFM_MIG_P2P)
		return state;
	if (state == RUNNING_P2P)
		return RUNNING;
	return state == PRE_COPY_P2P ? PRE_COPY : state;
}

static struct graph make_graph(unsigned caps)
{
	struct graph graph = {.caps = caps};

	for (size_t i = 0; i < ARRAY_SIZE(prose_arcs); i++) {
		enum vfm_state from = folded(prose_arcs[i][0], caps);
		enum vfm_state to = folded(prose_arcs[i][1], caps);
		bool precopy = needs_precopy(from) || needs_precopy(to);

		if (from != to && (caps & VFM_MIG_PRE_COPY || !precopy)) /* rule 4 */
			graph.arc[from][to] = true;
	}
	return graph;
}

/* Rule 2. */
static bool interior_allowed(const struct path *path)
{
	bool within = true, inside = false;

	for (unsigned i = 0; i <= path->len; i++) {
		within = within && saving(path->state[i]);
		if (i > 0 && i < path->len)
			inside = inside || saving(path->state[i]);
	}
	return within || !inside;
}

static bool seen(const struct path *path, enum vfm_state state)
{
	for (unsigned i = 0; i <= path->len; i++)
		if (path->state[i] == state)
			return true;
	return false;
}

static void extend(struct search *search)
{
	struct path *path = &search->path;
	enum vfm_state last = path->state[path->len];

	if (path->len == search->want) {
		if (last == search->to && interior_allowed(path)) {
			search->found = *path;
			search->count++;
		}
		return;
	}
	for (unsigned next = 0; next < COUNT; next++) {
		if (!search->graph->arc[last][next] || seen(path, next))
			continue;
		path->state[++path->len] = next;
		extend(search);
		path->len--;
	}
}

/* The path that the prose asks for. False: the transition is an error. */
static bool derive(const struct graph *graph, enum vfm_state from, enum vfm_state to,
		   struct path *path)
{
	struct search search = {.graph = graph, .to = to};

	if (!exists(from, graph->caps) || !exists(to, graph->caps))
		return false;
	if (from == ERROR || to == ERROR) /* rule 6 */
		return false;
	if (from == STOP_COPY && needs_precopy(to)) /* rule 5 */
		return false;
	search.path.state[0] = from;
	for (search.want = 0; search.want < COUNT && !search.count; search.want++) /* rule 1 */
		extend(&search);
	assert_true(search.count <= 1);
	*path = search.found;
	return search.count == 1;
}

static void compare_pair(const struct graph *graph, enum vfm_state from, enum vfm_state to)
{
	enum vfm_state next = ERROR, steps[FSM_PATH_MAX];
	struct path want;
	unsigned len = 99;

	if (!derive(graph, from, to, &want)) {
		assert_int_equal(fsm_next(from, to, graph->caps, &next), -EINVAL);
		assert_int_equal(fsm_path(from, to, graph->caps, steps, &len), -EINVAL);
		assert_int_equal(next, ERROR);
		assert_int_equal(len, 99);
		return;
	}
	assert_int_equal(fsm_next(from, to, graph->caps, &next), 0);
	assert_int_equal(next, want.len ? want.state[1] : from);
	assert_int_equal(fsm_path(from, to, graph->caps, steps, &len), 0);
	assert_int_equal(len, want.len);
	for (unsigned i = 0; i < len; i++)
		assert_int_equal(steps[i], want.state[i + 1]);
}

static void test_every_path_follows_the_prose(void **ctx)
{
	for (unsigned caps = 0; caps < CAPS_COUNT; caps++) {
		struct graph graph = make_graph(caps);

		for (unsigned from = 0; from < COUNT; from++)
			for (unsigned to = 0; to < COUNT; to++)
				compare_pair(&graph, from, to);
	}
}

static void test_the_longest_path_has_the_named_length(void **ctx)
{
	struct graph graph = make_graph(CAPS_ALL);
	unsigned longest = 0;
	struct path path;

	for (unsigned from = 0; from < COUNT; from++)
		for (unsigned to = 0; to < COUNT; to++)
			if (derive(&graph, from, to, &path))
				longest = MAX(longest, path.len);
	assert_int_equal(longest, FSM_PATH_MAX);
}

static void test_states_need_their_capabilities(void **ctx)
{
	for (unsigned caps = 0; caps < CAPS_COUNT; caps++) {
		assert_int_equal(fsm_caps_valid(caps), caps & VFM_MIG_STOP_COPY ? 1 : 0);
		for (unsigned state = 0; state < COUNT; state++)
			assert_int_equal(fsm_state_supported(state, caps), exists(state, caps));
	}
}

/* Flags of later kernels change nothing for one who does not know them. */
static void test_unknown_flags_are_ignored(void **ctx)
{
	const uint64_t later = ~(uint64_t)CAPS_ALL;
	enum vfm_state next = ERROR;

	assert_false(fsm_caps_valid(later));
	assert_true(fsm_caps_valid(later | VFM_MIG_STOP_COPY));
	assert_false(fsm_state_supported(PRE_COPY, later | VFM_MIG_STOP_COPY));
	assert_int_equal(fsm_next(RUNNING, STOP, later | VFM_MIG_STOP_COPY, &next), 0);
	assert_int_equal(next, STOP);
}

static void test_numbers_that_are_no_state_are_refused(void **ctx)
{
	static const int numbers[] = {-1, COUNT, COUNT + 1, 255, 256 + STOP, INT32_MAX, INT32_MIN};
	enum vfm_state next, steps[FSM_PATH_MAX];
	unsigned len;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		enum vfm_state bad = (enum vfm_state)numbers[i];

		assert_int_equal(fsm_next(bad, RUNNING, CAPS_ALL, &next), -EINVAL);
		assert_int_equal(fsm_next(RUNNING, bad, CAPS_ALL, &next), -EINVAL);
		assert_int_equal(fsm_path(bad, bad, CAPS_ALL, steps, &len), -EINVAL);
		assert_false(fsm_state_supported(bad, CAPS_ALL));
		assert_false(fsm_is_saving(bad));
		assert_false(fsm_arc_opens_saving(STOP, bad));
		assert_false(fsm_arc_opens_resuming(STOP, bad));
		assert_false(fsm_arc_ends_session(bad, STOP));
		assert_int_equal(fsm_recover_state(bad, RUNNING, CAPS_ALL), ERROR);
		assert_string_equal(vfm_state_name(bad), "invalid");
	}
}

/*
 * What a Linux 6.12 and a 7.2 kernel with the mtty sample driver (flags 0x7) answered to each
 * request: x EINVAL, o success without a data fd, f success with a new one. The columns are the
 * numbers of the states, and then 8, which is none. The row of RESUMING is a test of its own.
 */
static const struct {
	enum vfm_state from;
	const char *answers;
} kernel_rows[] = {
	{STOP, "xooffoffx"},
	{RUNNING, "xooffoffx"},
	{RUNNING_P2P, "xooffoffx"},
	{STOP_COPY, "xooofoxxx"},
	{PRE_COPY, "xooofooox"},
	{PRE_COPY_P2P, "xooofooox"},
};

static char answer(enum vfm_state from, enum vfm_state to)
{
	enum vfm_state next;

	if (fsm_next(from, to, CAPS_ALL, &next) < 0)
		return 'x';
	return fsm_arc_opens_saving(from, to) || fsm_arc_opens_resuming(from, to) ? 'f' : 'o';
}

static void test_arcs_seen_on_a_real_kernel(void **ctx)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernel_rows); i++)
		for (unsigned to = 0; to <= COUNT; to++)
			assert_int_equal(answer(kernel_rows[i].from, to),
					 kernel_rows[i].answers[to]);
}

/*
 * The same kernel, from RESUMING with nothing loaded: every request but RESUMING failed, and the
 * state stayed RESUMING. That is the driver's check on the arc RESUMING to STOP, so each way
 * out that the machine allows must begin with that arc.
 */
static void test_every_way_out_of_resuming_is_checked(void **ctx)
{
	enum vfm_state next;

	assert_int_equal(answer(RESUMING, RESUMING), 'o');
	assert_int_equal(answer(RESUMING, ERROR), 'x');
	assert_int_equal(answer(RESUMING, COUNT), 'x');
	for (unsigned to = STOP; to < COUNT; to++) {
		if (to == RESUMING)
			continue;
		assert_int_equal(fsm_next(RESUMING, to, CAPS_ALL, &next), 0);
		assert_int_equal(next, STOP);
	}
}

/* A pair does to the data session what the arcs of its path do, one after the other. */
static void check_sessions(const struct path *path)
{
	enum vfm_state from = path->state[0], to = path->state[path->len];
	bool saves = false, resumes = false, ends = false;

	for (unsigned i = 0; i < path->len; i++) {
		enum vfm_state a = path->state[i], b = path->state[i + 1];

		assert_false(saves || resumes); /* only the last arc opens */
		saves = !saving(a) && saving(b);
		resumes = b == RESUMING;
		ends = ends || (saving(a) && !saving(b)) || a == RESUMING;
		assert_int_equal(fsm_arc_opens_saving(a, b), saves);
		assert_int_equal(fsm_arc_opens_resuming(a, b), resumes);
	}
	assert_int_equal(fsm_arc_opens_saving(from, to), saves);
	assert_int_equal(fsm_arc_opens_resuming(from, to), resumes);
	assert_int_equal(fsm_arc_ends_session(from, to), ends);
}

static void test_sessions_open_and_end_as_on_the_path(void **ctx)
{
	for (unsigned caps = 0; caps < CAPS_COUNT; caps++) {
		struct graph graph = make_graph(caps);
		struct path path;

		for (unsigned from = 0; from < COUNT; from++)
			for (unsigned to = 0; to < COUNT; to++)
				if (derive(&graph, from, to, &path))
					check_sessions(&path);
	}
	for (unsigned state = 0; state < COUNT; state++)
		assert_int_equal(fsm_is_saving(state), saving(state));
}

/* How much a device does: a stopped one nothing, one without P2P less than a running one. */
static int liveliness(enum vfm_state state)
{
	if (state == RUNNING || state == PRE_COPY)
		return 2;
	return needs_p2p(state) ? 1 : 0;
}

/* A failed transition may have stopped anywhere on its path. */
static void check_recovery(const struct graph *graph, const struct path *path)
{
	enum vfm_state from = path->state[0], to = path->state[path->len];
	enum vfm_state back = fsm_recover_state(from, to, graph->caps);
	struct path way;

	if (back == ERROR) {
		assert_true(from == RESUMING || (from == STOP_COPY && to == STOP));
		return;
	}
	assert_true(exists(back, graph->caps));
	assert_true(liveliness(back) <= liveliness(from));
	assert_true(back != to || from == to);
	assert_true(back == from || !saving(back));
	for (unsigned i = 0; i < path->len; i++)
		assert_true(derive(graph, path->state[i], back, &way));
}

static void test_recovery_is_possible_and_never_livelier(void **ctx)
{
	for (unsigned caps = 0; caps < CAPS_COUNT; caps++) {
		struct graph graph = make_graph(caps);
		struct path path;

		for (unsigned from = 0; from < COUNT; from++) {
			assert_int_equal(fsm_recover_state(ERROR, from, caps), ERROR);
			for (unsigned to = 0; to < COUNT; to++)
				if (derive(&graph, from, to, &path))
					check_recovery(&graph, &path);
		}
	}
}

static void test_recovery_of_the_transitions_of_a_migration(void **ctx)
{
	static const enum vfm_state rows[][3] = {
		/* from, to, recover */
		{RUNNING, PRE_COPY, RUNNING},
		{PRE_COPY, PRE_COPY_P2P, RUNNING},
		{RUNNING, RUNNING_P2P, RUNNING},
		{PRE_COPY_P2P, STOP_COPY, RUNNING_P2P},
		{RUNNING_P2P, STOP_COPY, RUNNING_P2P},
		{RUNNING, STOP_COPY, RUNNING},
		{STOP, STOP_COPY, STOP},
		{PRE_COPY, RUNNING, PRE_COPY},
		{STOP_COPY, STOP, ERROR},
		{STOP_COPY, RUNNING, STOP},
		{RUNNING, RESUMING, RUNNING},
		{RESUMING, STOP, ERROR},
		{STOP, RUNNING_P2P, STOP},
		{RUNNING_P2P, RUNNING, RUNNING_P2P},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(fsm_recover_state(rows[i][0], rows[i][1], CAPS_ALL), rows[i][2]);
}

static void test_states_have_the_names_of_the_uapi(void **ctx)
{
	static const char *const names[COUNT] = {
		"ERROR", "STOP", "RUNNING", "STOP_COPY",
		"RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
	};

	for (unsigned state = 0; state < COUNT; state++)
		assert_string_equal(vfm_state_name(state), names[state]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_path_follows_the_prose),
		cmocka_unit_test(test_the_longest_path_has_the_named_length),
		cmocka_unit_test(test_states_need_their_capabilities),
		cmocka_unit_test(test_unknown_flags_are_ignored),
		cmocka_unit_test(test_numbers_that_are_no_state_are_refused),
		cmocka_unit_test(test_arcs_seen_on_a_real_kernel),
		cmocka_unit_test(test_every_way_out_of_resuming_is_checked),
		cmocka_unit_test(test_sessions_open_and_end_as_on_the_path),
		cmocka_unit_test(test_recovery_is_possible_and_never_livelier),
		cmocka_unit_test(test_recovery_of_the_transitions_of_a_migration),
		cmocka_unit_test(test_states_have_the_names_of_the_uapi),
	};

	return cmocka_run_group_tests_name("fsm", tests, NULL, NULL);
}
