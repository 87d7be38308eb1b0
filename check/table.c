/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "check/check.h"

static const struct check_family *const families[] = {
	&check_states, &check_sessions, &check_fd, &check_poll, &check_features, &check_end,
	&check_precopy, &check_reinit, &check_sizes, &check_load, &check_hostile,
	&check_reset, &check_killed, &check_logging, &check_written, &check_several,
};

const struct check_rule *check_rule_at(unsigned i, const struct check_family **family)
{
	for (unsigned f = 0; f < ARRAY_SIZE(families); f++) {
		*family = families[f];
		if (i < families[f]->count)
			return &families[f]->rules[i];
		i -= families[f]->count;
	}
	return NULL;
}

const struct check_rule *check_rule_find(const char *id)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		if (!strcmp(rule->id, id))
			return rule;
	return NULL;
}

bool check_family_exists(const char *name)
{
	for (unsigned f = 0; f < ARRAY_SIZE(families); f++)
		if (!strcmp(families[f]->name, name))
			return true;
	return false;
}
