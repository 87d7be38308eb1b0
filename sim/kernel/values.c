// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Values of options: numbers, sizes, words. */
#include <linux/ctype.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "sim/kernel/attributes.h"
#include "sim/mutant.h"
#include "sim/words.h"

/* ---- numbers ---- */

/* Digits, and K, M or G. */
static int parse_size(char *text, u64 *out)
{
	static const char units[] = "KMG";
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, toupper(text[len - 1])) : NULL;
	unsigned int shift = unit && *unit ? 10 * (unit - units + 1) : 0;
	u64 value;
	int ret;

	if (shift)
		text[len - 1] = '\0';
	if (!isdigit(*text))
		return -EINVAL;
	ret = kstrtou64(text, strncasecmp(text, "0x", 2) ? 10 : 16, &value);
	if (ret || value > U64_MAX >> shift)
		return -EINVAL;
	*out = value << shift;
	return 0;
}

int parse_within(char *text, u64 min, u64 max, u64 *out)
{
	int ret = parse_size(text, out);

	return ret || *out < min || *out > max ? -EINVAL : 0;
}

static void *field_of(struct ksim_config *config, const struct row *row)
{
	return (char *)config + row->field;
}

int read_u64(struct ksim_config *config, const struct row *row, char *text)
{
	return parse_within(text, row->min, row->max, field_of(config, row));
}

int write_u64(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%llu\n", *(u64 *)field_of((struct ksim_config *)config, row));
}

int read_u32(struct ksim_config *config, const struct row *row, char *text)
{
	u64 value;
	int ret = parse_within(text, row->min, row->max, &value);

	if (!ret)
		*(u32 *)field_of(config, row) = value;
	return ret;
}

int write_u32(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%u\n", *(u32 *)field_of((struct ksim_config *)config, row));
}

int read_bool(struct ksim_config *config, const struct row *row, char *text)
{
	return kstrtobool(text, field_of(config, row));
}

int write_bool(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%d\n", *(bool *)field_of((struct ksim_config *)config, row));
}

/* ---- sizes ---- */

static int read_pages(char *text, u64 min, u64 *out)
{
	int ret = parse_within(text, min, SIM_STATE_SIZE_MAX, out);

	if (!ret)
		*out = round_up(*out, (u64)SIM_PAGE_SIZE);
	return ret;
}

/* Of a personality whose initial bytes are all, all of what it is given. */
int read_state_size(struct ksim_config *config, const struct row *row, char *text)
{
	const struct sim_personality *who = config->sim.personality;
	int ret = read_pages(text, 1, &config->sim.state_size);

	if (!ret && !config->initial_given)
		config->sim.initial_size = min(who->initial_size, config->sim.state_size);
	return ret;
}

int read_initial_size(struct ksim_config *config, const struct row *row, char *text)
{
	config->initial_given = true;
	return read_pages(text, 0, &config->sim.initial_size);
}

/* ---- factors ---- */

/* "2" is 2000, "0.25" is 250: three decimals at most. */
static int parse_thousandths(char *text, u64 *out)
{
	char *whole = strsep(&text, "."), *rest = text ? text : "";
	size_t len = strlen(rest);
	u64 value, part = 0, i;

	if (parse_within(whole, 0, U32_MAX, &value) || len > 3 || (len && !isdigit(*rest)) ||
	    (len && kstrtou64(rest, 10, &part)))
		return -EINVAL;
	for (i = len; i < 3; i++)
		part *= 10;
	*out = value * 1000 + part;
	return 0;
}

int read_factor(struct ksim_config *config, const struct row *row, char *text)
{
	u64 value;

	if (parse_thousandths(text, &value) || value < 1 || value > SIM_SIZE_ERROR_MAX)
		return -EINVAL;
	config->sim.size_permille = value;
	return 0;
}

int write_factor(const struct ksim_config *config, const struct row *row, char *out)
{
	u32 value = config->sim.size_permille;

	return sysfs_emit(out, "%u.%03u\n", value / 1000, value % 1000);
}

/* ---- words ---- */

int read_migration(struct ksim_config *config, const struct row *row, char *text)
{
	u32 flags = 0;
	char *word;
	int ret = 0;

	if (!strcmp(text, "none")) {
		config->sim.mig_flags = 0;
		return 0;
	}
	while (!ret && (word = strsep(&text, ",")))
		ret = words_add_capability(word, &flags);
	config->sim.mig_flags = flags;
	return ret || !(flags & VFM_MIG_STOP_COPY) ? -EINVAL : 0;
}

int write_migration(const struct ksim_config *config, const struct row *row, char *out)
{
	const char *word;
	unsigned int i;
	int len = 0;
	u32 flag;

	for (i = 0; (word = words_capability_at(i, &flag)); i++)
		if (config->sim.mig_flags & flag)
			len += sysfs_emit_at(out, len, "%s%s", len ? "," : "", word);
	return len + sysfs_emit_at(out, len, "%s\n", len ? "" : "none");
}

static const char *const load_words[] = {
	[SIM_LOAD_AT_WRITE] = "write",
	[SIM_LOAD_AT_END] = "end",
	[SIM_LOAD_AT_BOTH] = "both",
};

int read_load_at(struct ksim_config *config, const struct row *row, char *text)
{
	int found = match_string(load_words, ARRAY_SIZE(load_words), text);

	if (found >= 0)
		config->sim.load_at = found;
	return min(found, 0);
}

int write_load_at(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%s\n", load_words[config->sim.load_at]);
}

int read_mutant(struct ksim_config *config, const struct row *row, char *text)
{
	config->sim.mutant = sim_mutant_find(text);
	return config->sim.mutant || !strcmp(text, "none") ? 0 : -EINVAL;
}

int write_mutant(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%s\n", config->sim.mutant ? config->sim.mutant->name : "none");
}

/* ---- arcs ---- */

int read_latency(struct ksim_config *config, const struct row *row, char *text)
{
	enum vfm_state from, to;
	const char *value = words_find_arc(text, &from, &to);
	u64 ms;
	int ret;

	if (!strcmp(text, "none")) {
		memset(config->sim.latency_ms, 0, sizeof(config->sim.latency_ms));
		return 0;
	}
	if (!value)
		return -EINVAL;
	ret = parse_within((char *)value, 0, SIM_LATENCY_MAX_MS, &ms);
	if (!ret)
		config->sim.latency_ms[from][to] = ms;
	return ret;
}

int write_latency(const struct ksim_config *config, const struct row *row, char *out)
{
	unsigned int from, to;
	int len = 0;

	for (from = 0; from < VFM_STATE_COUNT; from++)
		for (to = 0; to < VFM_STATE_COUNT; to++)
			if (config->sim.latency_ms[from][to])
				len += sysfs_emit_at(out, len, "%s:%s=%u\n", vfm_state_name(from),
						     vfm_state_name(to),
						     config->sim.latency_ms[from][to]);
	return len ? len : sysfs_emit(out, "none\n");
}
