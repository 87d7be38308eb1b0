/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance checker: rules of the migration protocol, each tried on a device.
 *
 *	table.c     all rules                      run.c     one rule after the other
 *	helpers.c   what rules have in common      report.c  what came of it
 *	port*.c     the device, raw                latency.c how long arcs took
 *	the rest    a family of rules each
 *
 * A rule is a function that begins with a device in RUNNING with no data session, and may leave it
 * anywhere: the runner brings it back. A rule tells one of four things: it is kept, it is broken,
 * it does not apply, or it could not be judged, because what had to happen first did not (then
 * another rule says why).
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <json-c/json.h>
#include <stdio.h>

#include <vfio-migrate/state.h>
#include "base/compiler.h"
#include "check/port.h"

#define CHECK_WHY_MAX    256

enum check_severity {
	CHECK_MUST,   /* broken: a VMM can lose the VM, or cannot migrate it */
	CHECK_SHOULD, /* broken: it works, and worse than it could */
	CHECK_NOTE,   /* good to know */
};

enum check_verdict { CHECK_PASS, CHECK_FAIL, CHECK_NOT_APPLICABLE, CHECK_UNJUDGED };
#define CHECK_VERDICTS 4

/* What has to be there for a rule to apply. */
enum check_needs {
	NEEDS_PRE_COPY = 1 << 0,
	NEEDS_P2P = 1 << 1,
	NEEDS_INFO = 1 << 2,    /* precopy info */
	NEEDS_SIZE = 1 << 3,    /* MIG_DATA_SIZE */
	NEEDS_LOGGING = 1 << 4,
	NEEDS_WRITER = 1 << 5,  /* a device whose DMA is known: a simulated one */
	NEEDS_FD = 1 << 6,      /* data sessions that are fds */
	NEEDS_REOPEN = 1 << 7,
	NEEDS_PEER = 1 << 8,
	NEEDS_REINIT = 1 << 9,  /* PRECOPY_INFOv2 */
	NEEDS_SPAWN = 1 << 11,  /* a process that can be killed */
	NEEDS_REPORT = 1 << 10, /* of what was logged */
};

/* What it does to the device. */
enum check_does {
	DOES_LOOK,  /* nothing */
	DOES_MOVE,  /* it goes through states, and keeps its contents */
	DOES_WIPE,  /* its contents are lost */
};

#define LATENCY_KEPT 256u

/* What one arc took, each time; the newest are kept. */
struct latency {
	unsigned count;
	uint64_t ns[LATENCY_KEPT];
};

struct check {
	struct port *port;
	struct port *peer; /* NULL: there is none */
	uint64_t caps;     /* enum vfm_mig_flags, of the device */
	uint64_t seed;     /* of what is random */
	bool logging;
	bool reports;      /* the log can be read; a kernel may be built without that */
	bool reinit;       /* it knows PRECOPY_INFOv2 */
	bool writer;
	unsigned patience_ms; /* with calls that should not sleep */
	char why[CHECK_WHY_MAX]; /* of the rule under way */
	struct latency latency[VFM_STATE_COUNT][VFM_STATE_COUNT]; /* [from][to] */
};

struct check_rule {
	const char *id;
	const char *says; /* the sentence that it checks */
	enum check_severity severity;
	unsigned needs;   /* enum check_needs */
	enum check_does does;
	enum check_verdict (*run)(struct check *check);
};

struct check_family {
	const char *name;
	const struct check_rule *rules;
	unsigned count;
};

extern const struct check_family check_states, check_sessions, check_fd, check_features, check_end,
	check_precopy, check_sizes, check_load, check_hostile, check_reset, check_logging,
	check_several, check_poll, check_reinit, check_written,
	check_killed;

/* table.c: rule number @i with its family, NULL past the last. */
const struct check_rule *check_rule_at(unsigned i, const struct check_family **family);
const struct check_rule *check_rule_find(const char *id);
bool check_family_exists(const char *name);

/* ---- run.c ---- */

#define CHECK_RULES_MAX 192

struct check_result {
	const struct check_rule *rule;
	const struct check_family *family;
	enum check_verdict verdict;
	char why[CHECK_WHY_MAX]; /* "" if there is nothing to tell */
	uint64_t ns;
	unsigned round;          /* in which it came to that, from 1; 0: it was not tried */
	uint64_t seed;           /* with which this can be seen again */
};

/* Rules or families by name; an empty @only is all. */
struct check_choice {
	const char *const *only;
	unsigned only_count;
	const char *const *skip;
	unsigned skip_count;
	uint64_t stress_ns; /* go round and round for so long; 0: once */
	/* Is to end early? Asked between rules; NULL: never. */
	bool (*stop)(void *opaque);
	void *stop_opaque;
	uint64_t rule_ns;   /* a rule, or the look before the first, takes no longer; 0: it may */
	/* One did: the thread that called check_run() may never come back. The results are complete,
	 * with the rule as a failure; on a thread of its own, which may end the process. */
	void (*stuck)(void *opaque);
	void *stuck_opaque;
};

struct watchdog;

struct check_run {
	struct check check;
	struct check_result results[CHECK_RULES_MAX];
	unsigned count;
	unsigned rounds;
	uint64_t seed;      /* of the first */
	uint64_t ns;        /* that all took */
	unsigned verdicts[CHECK_VERDICTS];
	unsigned musts_failed;
	unsigned musts_unjudged;
	unsigned untried;   /* rules of the choice, since it was stopped; no results are of them */
	bool stopped;       /* by choice->stop */
	bool gone;          /* the device is lost: the rest was not run */
	unsigned at;        /* the rule under way */
	struct watchdog *watchdog; /* NULL: none */
	uint64_t rule_ns;   /* its bound */
};

/* Is there a rule in it? */
bool check_any_rule(const struct check_choice *choice);

/*
 * Try the chosen rules. With stress a rule's result is the first that was no pass. @tell (may be
 * NULL) hears of each result of the first round, and of those that got worse. -errno: the device
 * could not be brought to RUNNING at the start, or does not migrate; -ENOENT: no rule is left of the
 * choice. One line is in @why.
 */
int check_run(struct check_run *run, const struct check_choice *choice,
	      void (*tell)(void *opaque, const struct check_result *result), void *opaque,
	      char why[CHECK_WHY_MAX]);

/* ---- report.c ---- */

void check_print_result(FILE *out, const struct check_result *result);
void check_print_summary(FILE *out, const struct check_run *run);
void check_print_list(FILE *out);
/* The caller's, to be put back; NULL: no memory. */
struct json_object *check_list_json(void);
struct json_object *check_to_json(const struct check_run *run, const char *device);
/* 0 or -errno. */
int check_write_junit(FILE *out, const struct check_run *run, const char *device);

/* ---- latency.c ---- */

struct latency_summary {
	unsigned count; /* all; the rest is of the newest LATENCY_KEPT */
	uint64_t p50_ns, p95_ns, max_ns;
};

void latency_add(struct port *port, enum vfm_state from, enum vfm_state to, uint64_t ns);
/* Take that arc, one of the machine's, from where the device is. */
int latency_take(struct port *port, enum vfm_state from, enum vfm_state to);
/* False: the arc was not taken. */
bool latency_of(const struct check *check, enum vfm_state from, enum vfm_state to,
		struct latency_summary *out);
void check_print_latency(FILE *out, const struct check *check);
struct json_object *check_latency_json(const struct check *check);

/* ---- helpers.c ---- */

PRINTF(2, 3) enum check_verdict check_fail(struct check *check, const char *format, ...);
PRINTF(2, 3) enum check_verdict check_unjudged(struct check *check, const char *format, ...);
PRINTF(2, 3) enum check_verdict check_na(struct check *check, const char *format, ...);
/* A pass with something to tell. */
PRINTF(2, 3) enum check_verdict check_pass(struct check *check, const char *format, ...);

/* @from could not be reached, or what had to come first failed with @ret. */
enum check_verdict check_no_way(struct check *check, enum vfm_state to, int ret);

/* To RUNNING, by SET or, out of RESUMING and ERROR, by reset. */
bool check_bring_back(struct port *port);
/* To RUNNING, by SET, reset or opening anew. 0 or -errno. */
int check_fresh(struct port *port);
/* And from there to @state, without more: a device that is to load has nothing yet. */
int check_go(struct port *port, enum vfm_state state);

bool check_has_state(const struct check *check, enum vfm_state state);

/* A state's bytes; begins as all zero. */
struct stream {
	uint8_t *data;
	size_t len;
	size_t room;
};

void stream_free(struct stream *stream);
/* One read of @step bytes: how many came, or -errno. */
int stream_read_once(struct port *port, struct stream *stream, size_t step);
/* Read to the end in STOP_COPY, @step bytes at a time (0: many). -EFBIG: more than
 * port->hold_max. */
int stream_read_end(struct port *port, struct stream *stream, size_t step);
/* The same without holding it: for states of any size. */
struct stream_sum {
	uint64_t len;
	uint64_t hash;
};
int stream_sum_end(struct port *port, struct stream_sum *sum);
/* From RUNNING or STOP: save and stay in STOP. */
int check_save_sum(struct port *port, struct stream_sum *sum);
/* In a PRE_COPY state, until there is nothing now; stops at a bound if that never is. */
int stream_read_early(struct port *port, struct stream *stream);
int stream_drop_early(struct port *port);
bool stream_equal(const struct stream *a, const struct stream *b);

/* From RUNNING or STOP: save and stay in STOP. */
int check_save(struct port *port, struct stream *stream);
/* From RUNNING: load and be in STOP; @step bytes at a time (0: many). What the refusal was and
 * where: @refused (may be NULL) is true if it is the stream that was not taken. */
int check_load_stream(struct port *port, const struct stream *stream, size_t step, bool *refused);

/* parallel.c: the rules of two devices at once. */
enum check_verdict check_parallel(struct check *check);
enum check_verdict check_interleaved(struct check *check);

/* hold.c: be the user that will be killed: in a state by name, or "reading", "writing", "moving". Says
 * CHECK_HOLDS on @out when it is at it. Does not return, but with -errno. */
#define CHECK_HOLDS "holding"
int check_hold(struct port *port, const char *what, FILE *out);
bool check_can_hold(const char *what);

/* logging.c: can the log be read at all? */
bool check_log_reports(struct check *check);

/* load.c: what was read from PRE_COPY on can be loaded, or no more can be said. */
enum check_verdict check_pre_copy_loads(struct check *check);
/* The rule of two devices. */
enum check_verdict check_load_both_ways(struct check *check);
/* latency.c: the rule of what a switchover takes. */
enum check_verdict check_downtime(struct check *check);

/* A step of a sequence that the seed begins. */
uint64_t check_random(uint64_t *state);

/* "RUNNING" and so on; numbers that are no state become "state 17". */
const char *check_state_text(uint32_t state, char text[24]);

#endif
