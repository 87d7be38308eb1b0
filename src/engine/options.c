/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "engine/options.h"

enum { CHUNK_MIN = 4 << 10, CHUNK_MAX = 1 << 20, CHUNK_DEFAULT = 256 << 10 };

VFM_API void vfm_options_init(struct vfm_options *options)
{
	*options = (struct vfm_options){
		.size = sizeof(*options),
		.downtime_limit_ns = 300 * NS_PER_MSEC,
		.max_bandwidth = VFM_UNLIMITED,
		.max_rounds = VFM_UNLIMITED,
		.timeout_ns = VFM_UNLIMITED,
		.peer_timeout_ns = 30 * NS_PER_SEC,
		.standstill_timeout_ns = 5 * NS_PER_SEC,
		.doubt_timeout_ns = 60 * NS_PER_SEC,
		.unknown_stop_copy_size = UINT64_C(1) << 30,
		.device_chunk = CHUNK_DEFAULT,
		.max_switchover_attempts = 5,
		.transition_estimate_ns = NS_PER_MSEC,
	};
}

/* The struct as the caller's version of the header has it, over the defaults of ours. */
static int copy_options(struct session *s, const struct vfm_options *options)
{
	vfm_options_init(&s->options);
	if (!options)
		return 0;
	if (options->size < offsetof(struct vfm_options, reconnect) + sizeof(void *) ||
	    options->size > sizeof(*options))
		return error_set(&s->error, EINVAL, "the options' size is not one of this library");
	memcpy(&s->options, options, options->size);
	s->options.size = sizeof(s->options);
	return 0;
}

static int copy_hooks(struct session *s)
{
	const struct vfm_thread_hooks *hooks = s->options.threads;

	if (!hooks)
		return 0;
	if (hooks->size != sizeof(*hooks) || !hooks->create || !hooks->join)
		return error_set(&s->error, EINVAL, "the thread hooks are not complete");
	s->hooks = *hooks;
	s->options.threads = &s->hooks;
	return 0;
}

static int copy_ops(struct session *s, const struct vfm_vm_ops *ops)
{
	if (!ops || ops->size != sizeof(*ops))
		return error_set(&s->error, EINVAL, "the VM ops' size is not one of this library");
	if (!ops->stop || !ops->run || !ops->dirty_start || !ops->dirty_stop || !ops->dirty_sync ||
	    !ops->save || !ops->load)
		return error_set(&s->error, EINVAL, "a VM op that is not optional is missing");
	s->vm = *ops;
	return 0;
}

static int check_chunk(struct session *s)
{
	uint32_t chunk = s->options.device_chunk;

	if (chunk < CHUNK_MIN || chunk > CHUNK_MAX || chunk % VFM_PAGE_SIZE)
		return error_set(&s->error, EINVAL,
				 "device_chunk must be 4 KiB to 1 MiB, a multiple of 4 KiB");
	if (!s->options.max_bandwidth)
		return error_set(&s->error, EINVAL, "max_bandwidth must not be 0");
	return 0;
}

static const struct {
	const char *name;
	uint64_t features;
} profiles[] = {
	[VFM_PROFILE_LEGACY] = { "legacy", WIRE_FEATURE_ACK_LEGACY },
	[VFM_PROFILE_REINIT] = { "reinit", WIRE_FEATURES_ACK },
	[VFM_PROFILE_COSTS] = { "costs", WIRE_FEATURES_ACK | WIRE_FEATURE_COSTS },
	[VFM_PROFILE_ARCS] = { "arcs",
			       WIRE_FEATURES_ACK | WIRE_FEATURE_COSTS | WIRE_FEATURE_ARCS },
};

VFM_API const char *vfm_profile_name(enum vfm_profile profile)
{
	if (profile == VFM_PROFILE_NEWEST)
		profile = ARRAY_SIZE(profiles) - 1;
	return (unsigned)profile < ARRAY_SIZE(profiles) ? profiles[profile].name : NULL;
}

uint64_t session_offer(const struct session *s)
{
	static const uint64_t wanted[] = {
		[VFM_ACK_PER_DEVICE] = WIRE_FEATURES_ACK,
		[VFM_ACK_LEGACY] = WIRE_FEATURE_ACK_LEGACY,
		[VFM_ACK_OFF] = 0,
	};
	unsigned profile = s->options.profile;

	if (profile == VFM_PROFILE_NEWEST)
		profile = ARRAY_SIZE(profiles) - 1;
	return profiles[profile].features &
	       (wanted[s->options.switchover_ack] | WIRE_FEATURE_COSTS | WIRE_FEATURE_ARCS);
}

uint64_t session_choose(uint64_t common)
{
	if (common & WIRE_FEATURE_ACK_PER_DEVICE)
		common &= ~(uint64_t)WIRE_FEATURE_ACK_LEGACY;
	return common;
}

static int check_modes(struct session *s)
{
	if ((unsigned)s->options.switchover_ack > VFM_ACK_OFF)
		return error_set(&s->error, EINVAL, "switchover_ack is none of its values");
	if (!vfm_profile_name(s->options.profile))
		return error_set(&s->error, EINVAL, "there is no profile of that number");
	if (!s->options.max_switchover_attempts)
		return error_set(&s->error, EINVAL, "max_switchover_attempts must not be 0");
	return 0;
}

int options_copy(struct session *s, const struct vfm_vm_ops *ops, const struct vfm_options *options)
{
	int r = copy_ops(s, ops);

	if (!r)
		r = copy_options(s, options);
	if (!r)
		r = copy_hooks(s);
	if (!r)
		r = check_chunk(s);
	return r ? r : check_modes(s);
}
