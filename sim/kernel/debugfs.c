// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* /sys/kernel/debug/vfm_sim/UUID/: counters and state, a word and a value a line. */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "sim/kernel/ksim.h"

static struct dentry *root;

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
#define COUNTER(name) {#name, offsetof(struct ksim_counters, name)}
	COUNTER(opens),	      COUNTER(resets),	      COUNTER(arcs),	   COUNTER(refusals),
	COUNTER(sessions),    COUNTER(bytes_read),    COUNTER(bytes_written), COUNTER(stale),
	COUNTER(dma_reads),   COUNTER(dma_writes),    COUNTER(dma_faults),    COUNTER(ticks),
};

static int counters_show(struct seq_file *seq, void *unused)
{
	struct ksim *k = seq->private;
	struct ksim_counters now;
	unsigned int i;

	ksim_lock_core(k);
	now = k->count;
	ksim_unlock_core(k);
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		seq_printf(seq, "%s %llu\n", counters[i].name,
			   *(u64 *)((char *)&now + counters[i].offset));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

/* Also while a state change takes its time, unlike the user's own question. */
static int state_show(struct seq_file *seq, void *unused)
{
	struct ksim *k = seq->private;
	enum vfm_state state;
	u64 session;

	ksim_lock_core(k);
	state = sim_state(k->sim);
	session = sim_session(k->sim);
	ksim_unlock_core(k);
	seq_printf(seq, "state %s\nsession %llu\nopen %d\n", vfm_state_name(state), session,
		   READ_ONCE(k->open));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

void ksim_debugfs_init(void)
{
	root = debugfs_create_dir("vfm_sim", NULL);
}

void ksim_debugfs_exit(void)
{
	debugfs_remove(root);
}

void ksim_debugfs_add(struct ksim *k, const char *name)
{
	k->debugfs = debugfs_create_dir(name, root);
	debugfs_create_file("counters", 0444, k->debugfs, k, &counters_fops);
	debugfs_create_file("state", 0444, k->debugfs, k, &state_fops);
}

void ksim_debugfs_remove(struct ksim *k)
{
	debugfs_remove(k->debugfs);
}
