/* SPDX-License-Identifier: BSD-3-Clause */
/* options: what the VMM chose, checked and copied. */
#ifndef ENGINE_OPTIONS_H
#define ENGINE_OPTIONS_H

#include "engine/session.h"

/* Copy both tables into the session, as far as their sizes reach. -EINVAL with the reason in
 * s->error. NULL @options: the defaults. */
int options_copy(struct session *s, const struct vfm_vm_ops *ops, const struct vfm_options *options);

#endif
