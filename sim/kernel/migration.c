// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Migration states and sizes, as VFIO's core asks for them on behalf of the user. */
#include <linux/err.h>
#include <linux/file.h>

#include "sim/kernel/ksim.h"

/* The core counts data sessions: it is a new one if the number has changed. */
static int change_state(struct ksim *k, u32 state, bool *opened)
{
	u64 before, after;
	int ret;

	ksim_lock_core(k);
	before = sim_session(k->sim);
	ret = sim_set_state(k->sim, state);
	after = sim_session(k->sim);
	*opened = !ret && after && after != before;
	k->count.arcs += !ret;
	k->count.refusals += !!ret;
	k->count.sessions += *opened;
	ksim_unlock_core(k);
	return ret;
}

/* @state is any number that the user gave. The file comes first: an arc cannot be undone. */
static struct file *set_state(struct vfio_device *vdev, enum vfio_device_mig_state state)
{
	struct ksim *k = to_ksim(vdev);
	struct file *file;
	bool opened = false;
	int ret = ksim_lock_calls(k);

	if (ret)
		return ERR_PTR(ret);
	file = ksim_new_data(k, state);
	if (!IS_ERR(file)) {
		ret = change_state(k, state, &opened);
		if (opened && file)
			ksim_connect_data(k, file);
	}
	mutex_unlock(&k->calls);
	if (IS_ERR_OR_NULL(file))
		return IS_ERR(file) ? file : ERR_PTR(ret);
	if (opened)
		return file;
	fput(file);
	return ERR_PTR(ret);
}

/* While an arc takes its time the device is in the state that it leaves. */
static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct ksim *k = to_ksim(vdev);

	ksim_lock_core(k);
	*state = (enum vfio_device_mig_state)sim_state(k->sim);
	ksim_unlock_core(k);
	return 0;
}

static int get_data_size(struct vfio_device *vdev, unsigned long *size)
{
	struct ksim *k = to_ksim(vdev);
	u64 told = 0;
	int ret = ksim_lock_calls(k);

	if (ret)
		return ret;
	ksim_lock_core(k);
	ret = sim_data_size(k->sim, &told);
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	*size = told;
	return ret;
}

const struct vfio_migration_ops ksim_migration_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
	.migration_get_data_size = get_data_size,
};
