// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * Options of a device, a file each in /sys/bus/mdev/devices/UUID/vfm_sim/: what `vfio-migrate sim`
 * takes on its command line, spelt the same with _ for -, with the same values.
 *
 * A write makes the device anew, with its first contents. EBUSY: somebody has it open; EINVAL: no
 * such value, or it does not go together with the others; the device is as it was.
 */
#include <linux/device.h>
#include <linux/mdev.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "sim/kernel/attributes.h"

#define TICK_US_MIN     100
#define TICK_US_MAX     1000000
#define TICK_US_DEFAULT 1000

void ksim_config_init(struct ksim_config *config, const struct sim_personality *who)
{
	*config = (struct ksim_config){.tick_us = TICK_US_DEFAULT, .poll = who->polls};
	sim_options_init_as(&config->sim, who);
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
	{FILE(size_error), .read = read_factor, .write = write_factor},
	COUNT(p2p_rate, sim.p2p_rate, 0, SIM_DMA_RATE_MAX),
	{FILE(reinit), .read = read_reinit, .write = write_reinit},
	{FILE(reinit_size), .read = read_never, .write = write_never,
	 .field = FIELD(sim.reinit_size), .max = SIM_STATE_SIZE_MAX},
	{FILE(upset), .read = read_upset, .write = write_upset},
	{FILE(fail_arc), .read = read_fail_arc, .write = write_fail_arc},
	{FILE(fail_call), .read = read_fail_call, .write = write_fail_call},
	{FILE(corrupt_stream), .read = read_never, .write = write_never,
	 .field = FIELD(sim.corrupt_at), .max = SIM_NEVER - 1},
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
