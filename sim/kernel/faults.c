// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * Values of options that make the device misbehave. Each takes "none". Those of which there are
 * many take one at a time, beside what was written before, and are shown a line each.
 */
#include <linux/string.h>
#include <linux/sysfs.h>

#include "sim/kernel/attributes.h"
#include "sim/words.h"

static bool is_none(const char *text)
{
	return !strcmp(text, "none");
}

/* ---- numbers that may be none ---- */

int read_never(struct ksim_config *config, const struct row *row, char *text)
{
	u64 *field = (u64 *)((char *)config + row->field);

	*field = SIM_NEVER;
	return is_none(text) ? 0 : parse_within(text, 0, row->max, field);
}

int write_never(const struct ksim_config *config, const struct row *row, char *out)
{
	u64 value = *(const u64 *)((const char *)config + row->field);

	return value == SIM_NEVER ? sysfs_emit(out, "none\n") : sysfs_emit(out, "%llu\n", value);
}

/* ---- moments ---- */

static const struct {
	const char *word; /* NULL: no such */
	u64 max;          /* of its value, 0: it has none */
} moments[] = {
	[SIM_WHEN_AFTER] = {"after=", SIM_LATENCY_MAX_MS},
	[SIM_WHEN_BYTES] = {"bytes=", SIM_WHEN_MAX},
	[SIM_WHEN_INFO] = {"info=", U32_MAX},
	[SIM_WHEN_LATE] = {"late", 0},
};

static int parse_moment(char *text, struct sim_trigger *out)
{
	unsigned int i;
	size_t len;

	for (i = 0; i < ARRAY_SIZE(moments); i++) {
		len = moments[i].word ? strlen(moments[i].word) : 0;
		if (!len || strncmp(text, moments[i].word, len))
			continue;
		*out = (struct sim_trigger){.when = i, .times = 1};
		if (!moments[i].max)
			return text[len] ? -EINVAL : 0;
		return parse_within(text + len, 1, moments[i].max, &out->value);
	}
	return -EINVAL;
}

/* What follows: times=N, and size=BYTES if @size is not NULL. */
static int parse_rest(char *text, struct sim_trigger *trigger, u64 *size)
{
	char *item;
	u64 times;
	int ret = 0;

	while (!ret && (item = strsep(&text, ","))) {
		if (!strncmp(item, "times=", 6)) {
			ret = parse_within(item + 6, 1, SIM_TIMES_MAX, &times);
			trigger->times = ret ? 0 : times;
		} else if (size && !strncmp(item, "size=", 5)) {
			ret = parse_within(item + 5, 0, SIM_STATE_SIZE_MAX, size);
		} else {
			ret = -EINVAL;
		}
	}
	return ret;
}

static int parse_trigger(char *text, struct sim_trigger *out, u64 *size)
{
	char *moment = strsep(&text, ",");
	int ret = parse_moment(moment, out);

	return ret ? ret : parse_rest(text, out, size);
}

static int write_trigger(const struct sim_trigger *trigger, char *out, int len)
{
	if (moments[trigger->when].max)
		return sysfs_emit_at(out, len, "%s%llu,times=%u\n", moments[trigger->when].word,
				     trigger->value, trigger->times);
	return sysfs_emit_at(out, len, "%s,times=%u\n", moments[trigger->when].word,
			     trigger->times);
}

int read_reinit(struct ksim_config *config, const struct row *row, char *text)
{
	config->sim.reinit = (struct sim_trigger){.when = SIM_WHEN_NEVER};
	if (is_none(text))
		return 0;
	if (!(config->sim.mig_flags & VFM_MIG_PRE_COPY))
		return -EINVAL;
	return parse_trigger(text, &config->sim.reinit, &config->sim.reinit_size);
}

int write_reinit(const struct ksim_config *config, const struct row *row, char *out)
{
	if (config->sim.reinit.when == SIM_WHEN_NEVER)
		return sysfs_emit(out, "none\n");
	return write_trigger(&config->sim.reinit, out, 0);
}

/* "error" or "reset", then the moment. */
int read_upset(struct ksim_config *config, const struct row *row, char *text)
{
	char *what;
	int ret;

	config->sim.upset = (struct sim_trigger){.when = SIM_WHEN_NEVER};
	if (is_none(text))
		return 0;
	what = strsep(&text, ",");
	config->sim.upset_resets = !strcmp(what, "reset");
	if (!text || (!config->sim.upset_resets && strcmp(what, "error")))
		return -EINVAL;
	ret = parse_trigger(text, &config->sim.upset, NULL);
	return ret || config->sim.upset.when == SIM_WHEN_LATE ? -EINVAL : 0;
}

int write_upset(const struct ksim_config *config, const struct row *row, char *out)
{
	int len;

	if (config->sim.upset.when == SIM_WHEN_NEVER)
		return sysfs_emit(out, "none\n");
	len = sysfs_emit(out, "%s,", config->sim.upset_resets ? "reset" : "error");
	return len + write_trigger(&config->sim.upset, out, len);
}

/* ---- failures ---- */

/* "ERRNO[@N]" */
static int parse_failure(const char *text, struct sim_fail *out)
{
	size_t len = strcspn(text, "@");
	struct sim_fail fail = {.error = words_find_errno(text, len)};
	u64 nth = 0;

	if (!fail.error || (text[len] && parse_within((char *)text + len + 1, 1, U32_MAX, &nth)))
		return -EINVAL;
	fail.nth = nth;
	*out = fail;
	return 0;
}

static int write_failure(const struct sim_fail *fail, char *out, int len)
{
	int more = sysfs_emit_at(out, len, "=%s", words_errno_name(fail->error));

	if (fail->nth)
		more += sysfs_emit_at(out, len + more, "@%u", fail->nth);
	return more + sysfs_emit_at(out, len + more, "\n");
}

int read_fail_arc(struct ksim_config *config, const struct row *row, char *text)
{
	enum vfm_state from, to;
	const char *value;

	if (is_none(text)) {
		memset(config->sim.fail, 0, sizeof(config->sim.fail));
		return 0;
	}
	value = words_find_arc(text, &from, &to);
	return value ? parse_failure(value, &config->sim.fail[from][to]) : -EINVAL;
}

int write_fail_arc(const struct ksim_config *config, const struct row *row, char *out)
{
	const struct sim_fail *fail;
	unsigned int from, to;
	int len = 0;

	for (from = 0; from < VFM_STATE_COUNT; from++)
		for (to = 0; to < VFM_STATE_COUNT; to++) {
			fail = &config->sim.fail[from][to];
			if (!fail->error)
				continue;
			len += sysfs_emit_at(out, len, "%s:%s", vfm_state_name(from),
					     vfm_state_name(to));
			len += write_failure(fail, out, len);
		}
	return len ? len : sysfs_emit(out, "none\n");
}

int read_fail_call(struct ksim_config *config, const struct row *row, char *text)
{
	size_t len = strcspn(text, "=");
	enum sim_call call;

	if (is_none(text)) {
		memset(config->sim.fail_call, 0, sizeof(config->sim.fail_call));
		return 0;
	}
	if (!text[len] || words_find_call(text, len, &call))
		return -EINVAL;
	return parse_failure(text + len + 1, &config->sim.fail_call[call]);
}

int write_fail_call(const struct ksim_config *config, const struct row *row, char *out)
{
	unsigned int call;
	int len = 0;

	for (call = 0; call < SIM_CALL_COUNT; call++) {
		if (!config->sim.fail_call[call].error)
			continue;
		len += sysfs_emit_at(out, len, "%s", words_call_name(call));
		len += write_failure(&config->sim.fail_call[call], out, len);
	}
	return len ? len : sysfs_emit(out, "none\n");
}
