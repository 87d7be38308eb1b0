/* SPDX-License-Identifier: BSD-3-Clause */
/* The words of options, which both front ends that have options read. */
#ifndef SIM_WORDS_H
#define SIM_WORDS_H

#include "sim/core.h"

/* The first @len bytes of @text as a state's name, in any case. -EINVAL. */
int words_find_state(const char *text, size_t len, enum vfm_state *state);

/* "FROM:TO=...", two states: what follows the =, NULL if it is not so. */
const char *words_find_arc(const char *text, enum vfm_state *from, enum vfm_state *to);

/* An errno's name: its positive number, 0 if it is none that is known; and back ("?"). */
int words_find_errno(const char *text, size_t len);
const char *words_errno_name(int number);

/* A call that can fail. */
int words_find_call(const char *text, size_t len, enum sim_call *call);
const char *words_call_name(enum sim_call call);

/* Add what one word of a list of capabilities means, as in "stop-copy,p2p". */
int words_add_capability(const char *word, uint32_t *flags);

/* Capability number @i from 0 on, NULL past the last. */
const char *words_capability_at(unsigned i, uint32_t *flag);

#endif
