/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One rule after the other. Before each the device is brought to RUNNING; if that cannot be done
 * the rule before left a device that nobody can use again: the rest is not judged.
 *
 * A server that goes away while a rule is tried breaks that rule, whatever the rule says: no
 * request may cost the connection. One that hangs is noticed by a watchdog (watchdog.h).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "check/check.h"
#include "check/watchdog.h"
#include "fsm/fsm.h"
#include "sim/regs.h"

#define PATIENCE_MS 5000u

/* ---- which rules ---- */

static bool is_named(const char *const *names, unsigned count, const struct check_rule *rule,
		     const struct check_family *family)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(names[i], rule->id) || !strcmp(names[i], family->name))
			return true;
	return false;
}

static bool is_chosen(const struct check_choice *choice, const struct check_rule *rule,
		      const struct check_family *family)
{
	if (choice->only_count && !is_named(choice->only, choice->only_count, rule, family))
		return false;
	return !is_named(choice->skip, choice->skip_count, rule, family);
}

bool check_any_rule(const struct check_choice *choice)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		if (is_chosen(choice, rule, family))
			return true;
	return false;
}

static void choose(struct check_run *run, const struct check_choice *choice)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; run->count < CHECK_RULES_MAX && (rule = check_rule_at(i, &family));
	     i++)
		if (is_chosen(choice, rule, family))
			run->results[run->count++] =
				(struct check_result){.rule = rule, .family = family};
}

/* ---- what there is ---- */

/* The rate stays 0 in one that does none. */
static bool does_dma(struct port *port)
{
	uint32_t old = 0, rate = 1;

	return !port->ops->region_read(port, SIM_BAR_REGS, SIM_REG_DMA_RATE, &old, 4) &&
	       !port->ops->region_write(port, SIM_BAR_REGS, SIM_REG_DMA_RATE, &rate, 4) &&
	       !port->ops->region_read(port, SIM_BAR_REGS, SIM_REG_DMA_RATE, &rate, 4) && rate &&
	       !port->ops->region_write(port, SIM_BAR_REGS, SIM_REG_DMA_RATE, &old, 4);
}

/* Registers of an unknown device are not to be touched: it has to say first who it is. */
static bool is_simulated(struct port *port)
{
	uint16_t ids[2] = {0};

	return !port->ops->region_read(port, VFM_PCI_CONFIG_REGION, 0, ids, sizeof(ids)) &&
	       ids[0] == SIM_PCI_VENDOR && ids[1] == SIM_PCI_DEVICE;
}

/* A simulated device: its DMA engine is known (sim/regs.h). */
static bool has_writer(struct port *port)
{
	uint32_t magic = 0, version = 0;

	return port->can & PORT_MEMORY && is_simulated(port) &&
	       !port->ops->region_read(port, SIM_BAR_REGS, SIM_REG_MAGIC, &magic, 4) &&
	       !port->ops->region_read(port, SIM_BAR_REGS, SIM_REG_VERSION, &version, 4) &&
	       magic == SIM_MAGIC && version == SIM_VERSION && does_dma(port);
}

/* The first thing that is missing; NULL: it applies. */
static const char *missing(const struct check *check, unsigned needs)
{
	const struct {
		unsigned need;
		bool there;
		const char *text;
	} things[] = {
		{NEEDS_PEER, check->peer != NULL, "a second device (PEER)"},
		{NEEDS_PRE_COPY, check->caps & VFM_MIG_PRE_COPY, "PRE_COPY"},
		{NEEDS_P2P, check->caps & VFM_MIG_P2P, "P2P states"},
		{NEEDS_FD, check->port->can & PORT_FD, "a data fd, which vfio-user has not"},
		{NEEDS_INFO, check->port->can & PORT_INFO, "precopy info over this transport"},
		{NEEDS_SIZE, check->port->can & PORT_SIZE, "MIG_DATA_SIZE"},
		{NEEDS_REINIT, check->reinit, "PRECOPY_INFOv2"},
		{NEEDS_LOGGING, check->logging, "DMA logging"},
		{NEEDS_REPORT, check->reports, "reports of the log, which this kernel has not"},
		{NEEDS_WRITER, check->writer, "a device whose DMA is known, a simulated one"},
		{NEEDS_SPAWN, check->port->can & PORT_SPAWN, "a process that can be killed"},
		{NEEDS_REOPEN, check->port->can & PORT_REOPEN, "an address to open it by again"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(things); i++)
		if (needs & things[i].need && !things[i].there)
			return things[i].text;
	return NULL;
}

static int refuse(char *why, int ret, const char *what)
{
	snprintf(why, CHECK_WHY_MAX, "%s: %s", what, strerror(-ret));
	return ret;
}

static int look(struct check *check, char *why)
{
	uint64_t flags = 0;
	int ret = port_get_flags(check->port, &flags);

	if (ret || !flags)
		return refuse(why, ret ? ret : -ENOTTY, "the device does not migrate");
	ret = check_fresh(check->port);
	if (!ret && check->peer)
		ret = check_fresh(check->peer);
	if (ret)
		return refuse(why, ret, "the device cannot be brought to RUNNING");
	check->caps = flags & (VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY);
	check->logging = port_probe(check->port, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET);
	check->reinit = check->caps & VFM_MIG_PRE_COPY &&
			port_probe(check->port, VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET);
	check->reports = check->logging && check_log_reports(check);
	check->writer = has_writer(check->port);
	check->port->latency = &check->latency[0][0];
	check->patience_ms = check->patience_ms ? check->patience_ms : PATIENCE_MS;
	return 0;
}

/* ---- what came of it ---- */

static bool is_bad(enum check_verdict verdict)
{
	return verdict == CHECK_FAIL || verdict == CHECK_UNJUDGED;
}

static void count(struct check_run *run)
{
	for (unsigned i = 0; i < run->count; i++) {
		const struct check_result *r = &run->results[i];

		bool must = r->rule->severity == CHECK_MUST;

		run->verdicts[r->verdict]++;
		run->musts_failed += must && r->verdict == CHECK_FAIL;
		run->musts_unjudged += must && r->verdict == CHECK_UNJUDGED;
	}
}

/* ---- what hangs ---- */

/* What the watchdog needs. */
struct hang {
	struct check_run *run;
	const struct check_choice *choice;
	struct watchdog dog;
};

static void watch(struct check_run *run)
{
	if (run->watchdog)
		watchdog_watch(run->watchdog, run->rule_ns);
}

static void rest(struct check_run *run)
{
	if (run->watchdog)
		watchdog_rest(run->watchdog);
}

/* On the watchdog's thread. */
static void bark(void *opaque)
{
	struct hang *hang = opaque;
	struct check_run *run = hang->run;

	for (unsigned i = run->at; i < run->count; i++) {
		run->results[i].verdict = i == run->at ? CHECK_FAIL : CHECK_UNJUDGED;
		snprintf(run->results[i].why, sizeof(run->results[i].why),
			 i == run->at ? "it hangs: not done in %llu s" : "the device hangs",
			 (unsigned long long)(run->rule_ns / NS_PER_SEC));
	}
	run->gone = true;
	count(run);
	hang->choice->stuck(hang->choice->stuck_opaque);
}

/* ---- one rule ---- */

static enum check_verdict judge(struct check *check, const struct check_rule *rule)
{
	const char *lack = missing(check, rule->needs);
	bool checks_flags = rule->does == DOES_LOOK;

	if (lack)
		return check_na(check, "it needs %s", lack);
	if (!fsm_caps_valid(check->caps) && !checks_flags)
		return check_unjudged(check, "the migration flags make no sense");
	return rule->run(check);
}

/* Is the device there, and can it be used again? */
static bool recover(struct check *check)
{
	return !check_fresh(check->port) && (!check->peer || !check_fresh(check->peer));
}

static bool is_lost(struct port *port)
{
	return port->client && vfm_vfio_user_lost(port->client, NULL, 0);
}

static void try_and_recover(struct check_run *run, struct check_result *result)
{
	struct check *check = &run->check;
	uint64_t start = clock_ns();

	*check->why = '\0';
	result->seed = check->seed;
	result->verdict = judge(check, result->rule);
	if (is_lost(check->port) || (check->peer && is_lost(check->peer)))
		result->verdict = check_fail(check, "the server went away, or answered nonsense");
	result->ns = clock_ns() - start;
	if (!recover(check)) {
		run->gone = true;
		if (result->verdict != CHECK_FAIL)
			result->verdict = check_fail(check, "afterwards the device cannot be used, "
							    "and neither SET, reset nor opening it "
							    "again helps");
	}
	snprintf(result->why, sizeof(result->why), "%s", check->why);
}

/* The results belong to the watchdog if it barks. */
static void try_rule(struct check_run *run, unsigned at, struct check_result *result)
{
	struct check_result got = *result;

	run->at = at;
	watch(run);
	try_and_recover(run, &got);
	rest(run);
	*result = got;
}

/* ---- all of them ---- */

static bool is_stopped(struct check_run *run, const struct check_choice *choice)
{
	run->stopped |= choice->stop && choice->stop(choice->stop_opaque);
	return run->stopped;
}

/* From @at on; what an interrupt did to the rule under way says nothing of the device. */
static void leave_untried(struct check_run *run, unsigned at)
{
	run->untried = run->count - at;
	run->count = at;
}

static void first_round(struct check_run *run, const struct check_choice *choice,
			void (*tell)(void *, const struct check_result *), void *opaque)
{
	for (unsigned i = 0; i < run->count; i++) {
		struct check_result *result = &run->results[i];

		if (is_stopped(run, choice)) {
			leave_untried(run, i);
			break;
		}
		if (run->gone) {
			result->verdict = CHECK_UNJUDGED;
			snprintf(result->why, sizeof(result->why), "the device is lost");
		} else {
			try_rule(run, i, result);
			result->round = 1;
		}
		if (is_bad(result->verdict) && !run->gone && is_stopped(run, choice)) {
			leave_untried(run, i);
			break;
		}
		if (tell)
			tell(opaque, result);
	}
	run->rounds = 1;
}

/* A round that only counts what it finds broken. */
static void more_round(struct check_run *run, const struct check_choice *choice, uint64_t end,
		       void (*tell)(void *, const struct check_result *), void *opaque)
{
	for (unsigned i = 0; i < run->count && !run->gone && clock_ns() < end &&
			     !is_stopped(run, choice);
	     i++) {
		struct check_result again = run->results[i];

		if (again.verdict == CHECK_NOT_APPLICABLE)
			continue;
		try_rule(run, i, &again);
		again.round = run->rounds + 1;
		if (!is_bad(again.verdict) || is_bad(run->results[i].verdict))
			continue;
		if (!run->gone && is_stopped(run, choice))
			break;
		run->results[i] = again;
		if (tell)
			tell(opaque, &again);
	}
	run->rounds++;
}

static int run_all(struct check_run *run, const struct check_choice *choice,
		   void (*tell)(void *opaque, const struct check_result *result), void *opaque,
		   char why[CHECK_WHY_MAX])
{
	uint64_t start = clock_ns(), end = clock_after(choice->stress_ns);
	int ret;

	watch(run);
	ret = look(&run->check, why);
	rest(run);
	if (ret)
		return ret;
	choose(run, choice);
	if (!run->count) {
		snprintf(why, CHECK_WHY_MAX, "no rule is left of --only and --skip");
		return -ENOENT;
	}
	run->seed = run->check.seed;
	first_round(run, choice, tell, opaque);
	while (choice->stress_ns && clock_ns() < end && !run->gone && !is_stopped(run, choice)) {
		run->check.seed++;
		more_round(run, choice, end, tell, opaque);
	}
	run->ns = clock_ns() - start;
	count(run);
	return 0;
}

int check_run(struct check_run *run, const struct check_choice *choice,
	      void (*tell)(void *opaque, const struct check_result *result), void *opaque,
	      char why[CHECK_WHY_MAX])
{
	struct hang hang = {.run = run, .choice = choice};
	int ret;

	if (!choice->rule_ns)
		return run_all(run, choice, tell, opaque, why);
	run->rule_ns = choice->rule_ns;
	run->watchdog = &hang.dog;
	ret = watchdog_start(&hang.dog, bark, &hang);
	if (ret)
		return refuse(why, ret, "no watchdog");
	ret = run_all(run, choice, tell, opaque, why);
	watchdog_stop(&hang.dog);
	run->watchdog = NULL;
	return ret;
}
