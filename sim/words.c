/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/words.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define NAME(x) (x), #x

static bool is_word(const char *word, const char *text, size_t len)
{
	return strlen(word) == len && !strncmp(word, text, len);
}

/* ---- states ---- */

int words_find_state(const char *text, size_t len, enum vfm_state *state)
{
	unsigned i;

	for (i = VFM_STATE_STOP; i < VFM_STATE_COUNT; i++)
		if (strlen(vfm_state_name(i)) == len && !strncasecmp(vfm_state_name(i), text, len)) {
			*state = i;
			return 0;
		}
	return -EINVAL;
}

const char *words_find_arc(const char *text, enum vfm_state *from, enum vfm_state *to)
{
	const char *colon = strchr(text, ':');
	const char *equals = colon ? strchr(colon, '=') : NULL;

	if (!equals || words_find_state(text, (size_t)(colon - text), from) ||
	    words_find_state(colon + 1, (size_t)(equals - colon - 1), to) || *from == *to)
		return NULL;
	return equals + 1;
}

/* ---- faults ---- */

static const struct {
	int number;
	const char *name;
} errnos[] = {
	{NAME(EIO)},     {NAME(EINVAL)},    {NAME(EFAULT)}, {NAME(ENOMEM)},     {NAME(EBUSY)},
	{NAME(EAGAIN)},  {NAME(ETIMEDOUT)}, {NAME(ENODEV)}, {NAME(EOPNOTSUPP)}, {NAME(EPERM)},
	{NAME(ENOSPC)},  {NAME(ENOTTY)},    {NAME(EINTR)},  {NAME(ECANCELED)},
};

int words_find_errno(const char *text, size_t len)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(errnos); i++)
		if (is_word(errnos[i].name, text, len))
			return errnos[i].number;
	return 0;
}

const char *words_errno_name(int number)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(errnos); i++)
		if (errnos[i].number == number)
			return errnos[i].name;
	return "?";
}

static const char *const call_names[SIM_CALL_COUNT] = {
	[SIM_CALL_READ] = "read",
	[SIM_CALL_WRITE] = "write",
	[SIM_CALL_INFO] = "info",
	[SIM_CALL_SIZE] = "size",
	[SIM_CALL_LOG_START] = "log-start",
	[SIM_CALL_LOG_REPORT] = "log-report",
	[SIM_CALL_SAVE] = "save",
};

int words_find_call(const char *text, size_t len, enum sim_call *call)
{
	unsigned i;

	for (i = 0; i < SIM_CALL_COUNT; i++)
		if (is_word(call_names[i], text, len)) {
			*call = i;
			return 0;
		}
	return -EINVAL;
}

const char *words_call_name(enum sim_call call)
{
	return call_names[call];
}

/* ---- capabilities ---- */

static const struct {
	const char *word;
	uint32_t flag;
} capabilities[] = {
	{"stop-copy", VFM_MIG_STOP_COPY},
	{"p2p", VFM_MIG_P2P},
	{"pre-copy", VFM_MIG_PRE_COPY},
};

int words_add_capability(const char *word, uint32_t *flags)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (!strcmp(word, capabilities[i].word)) {
			*flags |= capabilities[i].flag;
			return 0;
		}
	return -EINVAL;
}

const char *words_capability_at(unsigned i, uint32_t *flag)
{
	if (i >= ARRAY_SIZE(capabilities))
		return NULL;
	*flag = capabilities[i].flag;
	return capabilities[i].word;
}
