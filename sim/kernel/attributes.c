// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * Options of a device, a file each in /sys/bus/mdev/devices/UUID/vfm_sim/: what `vfio-migrate sim`
 * takes on its command line, spelt the same with _ for -, with the same values.
 *
 * A write makes the device anew, with its first contents. EBUSY: somebody has it open; EINVAL: no
 * such value, or it does not go together with the others; the device is as it was.
 */
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/mdev.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "sim/kernel/ksim.h"
#include "sim/mutant.h"

#define TICK_US_MIN     100
#define TICK_US_MAX     1000000
#define TICK_US_DEFAULT 1000

void ksim_config_init(struct ksim_config *config, const struct sim_personality *who)
{
	*config = (struct ksim_config){.tick_us = TICK_US_DEFAULT};
	sim_options_init_as(&config->sim, who);
}

struct row {
	struct device_attribute attribute;
	int (*read)(struct ksim_config *config, const struct row *row, char *text);
	int (*write)(const struct ksim_config *config, const struct row *row, char *out);
	size_t field; /* in the configuration */
	u64 min, max;
};

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
	ret = kstrtou64(text, 0, &value);
	if (ret || value > U64_MAX >> shift)
		return -EINVAL;
	*out = value << shift;
	return 0;
}

static int parse_within(char *text, u64 min, u64 max, u64 *out)
{
	int ret = parse_size(text, out);

	return ret || *out < min || *out > max ? -EINVAL : 0;
}

static void *field_of(struct ksim_config *config, const struct row *row)
{
	return (char *)config + row->field;
}

static int read_u64(struct ksim_config *config, const struct row *row, char *text)
{
	return parse_within(text, row->min, row->max, field_of(config, row));
}

static int write_u64(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%llu\n", *(u64 *)field_of((struct ksim_config *)config, row));
}

static int read_u32(struct ksim_config *config, const struct row *row, char *text)
{
	u64 value;
	int ret = parse_within(text, row->min, row->max, &value);

	if (!ret)
		*(u32 *)field_of(config, row) = value;
	return ret;
}

static int write_u32(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%u\n", *(u32 *)field_of((struct ksim_config *)config, row));
}

static int read_bool(struct ksim_config *config, const struct row *row, char *text)
{
	return kstrtobool(text, field_of(config, row));
}

static int write_bool(const struct ksim_config *config, const struct row *row, char *out)
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
static int read_state_size(struct ksim_config *config, const struct row *row, char *text)
{
	const struct sim_personality *who = config->sim.personality;
	int ret = read_pages(text, 1, &config->sim.state_size);

	if (!ret && !config->initial_given)
		config->sim.initial_size = min(who->initial_size, config->sim.state_size);
	return ret;
}

static int read_initial_size(struct ksim_config *config, const struct row *row, char *text)
{
	config->initial_given = true;
	return read_pages(text, 0, &config->sim.initial_size);
}

/* ---- words ---- */

static const struct {
	const char *word;
	u32 flag;
} mig_words[] = {
	{"stop-copy", VFM_MIG_STOP_COPY},
	{"p2p", VFM_MIG_P2P},
	{"pre-copy", VFM_MIG_PRE_COPY},
};

static int mig_word(const char *word, u32 *flags)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mig_words); i++)
		if (!strcmp(word, mig_words[i].word)) {
			*flags |= mig_words[i].flag;
			return 0;
		}
	return -EINVAL;
}

static int read_migration(struct ksim_config *config, const struct row *row, char *text)
{
	u32 flags = 0;
	char *word;
	int ret = 0;

	if (!strcmp(text, "none")) {
		config->sim.mig_flags = 0;
		return 0;
	}
	while (!ret && (word = strsep(&text, ",")))
		ret = mig_word(word, &flags);
	config->sim.mig_flags = flags;
	return ret || !(flags & VFM_MIG_STOP_COPY) ? -EINVAL : 0;
}

static int write_migration(const struct ksim_config *config, const struct row *row, char *out)
{
	unsigned int i;
	int len = 0;

	for (i = 0; i < ARRAY_SIZE(mig_words); i++)
		if (config->sim.mig_flags & mig_words[i].flag)
			len += sysfs_emit_at(out, len, "%s%s", len ? "," : "", mig_words[i].word);
	return len + sysfs_emit_at(out, len, "%s\n", len ? "" : "none");
}

static const char *const load_words[] = {
	[SIM_LOAD_AT_WRITE] = "write",
	[SIM_LOAD_AT_END] = "end",
	[SIM_LOAD_AT_BOTH] = "both",
};

static int read_load_at(struct ksim_config *config, const struct row *row, char *text)
{
	int found = match_string(load_words, ARRAY_SIZE(load_words), text);

	if (found >= 0)
		config->sim.load_at = found;
	return min(found, 0);
}

static int write_load_at(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%s\n", load_words[config->sim.load_at]);
}

static int read_mutant(struct ksim_config *config, const struct row *row, char *text)
{
	config->sim.mutant = sim_mutant_find(text);
	return config->sim.mutant || !strcmp(text, "none") ? 0 : -EINVAL;
}

static int write_mutant(const struct ksim_config *config, const struct row *row, char *out)
{
	return sysfs_emit(out, "%s\n", config->sim.mutant ? config->sim.mutant->name : "none");
}

/* ---- arcs ---- */

static int find_state(const char *text, size_t len, enum vfm_state *state)
{
	unsigned int i;

	for (i = VFM_STATE_STOP; i < VFM_STATE_COUNT; i++)
		if (strlen(vfm_state_name(i)) == len && !strncasecmp(vfm_state_name(i), text, len)) {
			*state = i;
			return 0;
		}
	return -EINVAL;
}

/* FROM:TO=, and what follows it. */
static char *parse_arc(char *text, enum vfm_state *from, enum vfm_state *to)
{
	char *colon = strchr(text, ':');
	char *equals = colon ? strchr(colon, '=') : NULL;

	if (!equals || find_state(text, colon - text, from) ||
	    find_state(colon + 1, equals - colon - 1, to) || *from == *to)
		return NULL;
	return equals + 1;
}

static int read_latency(struct ksim_config *config, const struct row *row, char *text)
{
	enum vfm_state from, to;
	char *value = parse_arc(text, &from, &to);
	u64 ms;
	int ret;

	if (!value)
		return -EINVAL;
	ret = parse_within(value, 0, SIM_LATENCY_MAX_MS, &ms);
	if (!ret)
		config->sim.latency_ms[from][to] = ms;
	return ret;
}

static int write_latency(const struct ksim_config *config, const struct row *row, char *out)
{
	unsigned int from, to;
	int len = 0;

	for (from = 0; from < VFM_STATE_COUNT; from++)
		for (to = 0; to < VFM_STATE_COUNT; to++)
			if (config->sim.latency_ms[from][to])
				len += sysfs_emit_at(out, len, "%s:%s=%u\n", vfm_state_name(from),
						     vfm_state_name(to),
						     config->sim.latency_ms[from][to]);
	return len;
}

/* ---- files ---- */

static ssize_t show(struct device *dev, struct device_attribute *attribute, char *out)
{
	const struct row *row = container_of(attribute, struct row, attribute);
	struct ksim *k = dev_get_drvdata(dev);
	int ret = ksim_lock_calls(k);

	if (ret)
		return ret;
	ret = row->write(&k->config, row, out);
	mutex_unlock(&k->calls);
	return ret;
}

/* calls is held. */
static int change(struct ksim *k, const struct row *row, char *text)
{
	struct ksim_config *config;
	int ret;

	if (k->open)
		return -EBUSY;
	config = kmemdup(&k->config, sizeof(*config), GFP_KERNEL);
	if (!config)
		return -ENOMEM;
	ret = row->read(config, row, text);
	if (!ret)
		ret = ksim_make(k, config);
	kfree(config);
	return ret;
}

static ssize_t store(struct device *dev, struct device_attribute *attribute, const char *text,
		     size_t len)
{
	const struct row *row = container_of(attribute, struct row, attribute);
	struct ksim *k = dev_get_drvdata(dev);
	char *copy = kstrndup(text, len, GFP_KERNEL);
	int ret = copy ? ksim_lock_calls(k) : -ENOMEM;

	if (!ret) {
		ret = change(k, row, strim(copy));
		mutex_unlock(&k->calls);
	}
	kfree(copy);
	return ret ? ret : len;
}

#define FIELD(name) offsetof(struct ksim_config, name)
#define FILE(name)  .attribute = __ATTR(name, 0644, show, store)

#define SIZE(name, at, low, high)                                                                  \
	{FILE(name), .read = read_u64, .write = write_u64, .field = FIELD(at), .min = low,         \
	 .max = high}
#define COUNT(name, at, low, high)                                                                 \
	{FILE(name), .read = read_u32, .write = write_u32, .field = FIELD(at), .min = low,         \
	 .max = high}
#define FLAG(name, at)                                                                             \
	{FILE(name), .read = read_bool, .write = write_bool, .field = FIELD(at)}

static struct row rows[] = {
	{FILE(state_size), .read = read_state_size, .write = write_u64,
	 .field = FIELD(sim.state_size)},
	{FILE(initial_size), .read = read_initial_size, .write = write_u64,
	 .field = FIELD(sim.initial_size)},
	SIZE(dirty_rate, sim.dirty_rate, 0, SIM_RATE_MAX),
	COUNT(dma_rate, sim.dma_rate, 0, SIM_DMA_RATE_MAX),
	COUNT(vectors, sim.vectors, 1, SIM_MSIX_VECTORS_MAX),
	SIZE(seed, sim.seed, 0, U64_MAX),
	COUNT(tick_us, tick_us, TICK_US_MIN, TICK_US_MAX),
	FLAG(dma_logging, sim.dma_logging),
	FLAG(poll, poll),
	FLAG(reset_on_disconnect, reset_on_disconnect),
	{FILE(migration), .read = read_migration, .write = write_migration},
	{FILE(arc_latency), .read = read_latency, .write = write_latency},
	COUNT(load_cost_us_per_mib, sim.load_cost_us_per_mib, 0, SIM_LATENCY_MAX_MS * 1000),
	{FILE(load_at), .read = read_load_at, .write = write_load_at},
	COUNT(alloc_cost_ms, sim.alloc_cost_ms, 0, SIM_LATENCY_MAX_MS),
	SIZE(p2p_target, sim.p2p_target, 0, U64_MAX),
	COUNT(p2p_rate, sim.p2p_rate, 0, SIM_DMA_RATE_MAX),
	{FILE(mutant), .read = read_mutant, .write = write_mutant},
};

static struct attribute *attributes[ARRAY_SIZE(rows) + 1];

static const struct attribute_group group = {
	.name = "vfm_sim",
	.attrs = attributes,
};

const struct attribute_group *ksim_attribute_groups[] = {&group, NULL};

/* Before the driver is there. */
void __init ksim_attributes_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		sysfs_attr_init(&rows[i].attribute.attr);
		attributes[i] = &rows[i].attribute.attr;
	}
}
