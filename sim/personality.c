/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/personality.h"

#include <errno.h>
#include <string.h>

#include "sim/core.h"

/* A device that keeps every rule and tells exact sizes. */
static const struct sim_personality generic = {
	.name = "generic",
	.about = "keeps every rule of the protocol, tells exact sizes",
	.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY,
	.dma_logging = true,
	.runs_in_p2p = true,
	.refuse_errno = EFAULT,
	.log_page_size = SIM_PAGE_SIZE,
};

static const struct sim_personality *const table[] = {
	&generic,
};

const struct sim_personality *sim_personality_at(unsigned i)
{
	return i < ARRAY_SIZE(table) ? table[i] : NULL;
}

const struct sim_personality *sim_personality_find(const char *name)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(table[i]->name, name))
			return table[i];
	return NULL;
}
