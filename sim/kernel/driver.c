// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The module: a parent device with a type of mediated devices for each personality. */
#include <linux/device.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "sim/kernel/compat.h"
#include "sim/kernel/ksim.h"

#define TYPES_MAX   16
#define DEVICES_MAX 1024

struct type {
	struct mdev_type type;
	const struct sim_personality *who;
};

static struct parent {
	struct device dev;
	struct mdev_parent mdev;
	struct type type[TYPES_MAX];
	struct mdev_type *types[TYPES_MAX];
	unsigned int type_count;
} parent;

/* ---- a device ---- */

int ksim_lock_calls(struct ksim *k)
{
	return mutex_lock_killable(&k->calls);
}

/* What VFIO asks of a device at each call, under core. */
static void announce(struct ksim *k)
{
	u32 flags = sim_told_flags(k->sim);

	k->vdev.migration_flags = flags;
	k->vdev.mig_ops = flags ? &ksim_migration_ops : NULL;
	k->vdev.log_ops = sim_has_logging(k->sim) ? &ksim_log_ops : NULL;
}

int ksim_make(struct ksim *k, const struct ksim_config *config)
{
	struct sim *sim, *old;
	int ret;

	lockdep_assert_held(&k->calls);
	if (k->open)
		return -EBUSY;
	ret = sim_create(&config->sim, &ksim_host_ops, k, &sim);
	if (ret)
		return ret;
	if (!sim_told_flags(sim))
		ksim_hide_state(&k->vdev);
	mutex_lock(&k->core);
	k->config = *config;
	old = k->sim;
	k->sim = sim;
	announce(k);
	mutex_unlock(&k->core);
	sim_destroy(old);
	return 0;
}

static const struct sim_personality *personality_of(struct device *dev)
{
	return container_of(to_mdev_device(dev)->type, struct type, type)->who;
}

static int make_first(struct ksim *k)
{
	struct ksim_config *config = kzalloc(sizeof(*config), GFP_KERNEL);
	int ret;

	if (!config)
		return -ENOMEM;
	ksim_config_init(config, personality_of(k->vdev.dev));
	config->sim.seed = get_random_u64();
	mutex_lock(&k->calls);
	ret = ksim_make(k, config);
	mutex_unlock(&k->calls);
	kfree(config);
	return ret;
}

int ksim_init_device(struct vfio_device *vdev)
{
	struct ksim *k = to_ksim(vdev);
	int ret;

	mutex_init(&k->calls);
	mutex_init(&k->core);
	init_waitqueue_head(&k->wake);
	init_waitqueue_head(&k->readers);
	ksim_init_time(k);
	ret = make_first(k);
	if (ret) {
		mutex_destroy(&k->core);
		mutex_destroy(&k->calls);
	}
	return ret;
}

/* The last one who knew the device has gone: it was removed, and its data fds are closed. */
void ksim_release_device(struct vfio_device *vdev)
{
	struct ksim *k = to_ksim(vdev);

	sim_destroy(k->sim);
	mutex_destroy(&k->core);
	mutex_destroy(&k->calls);
}

static int probe(struct mdev_device *mdev)
{
	struct ksim *k = vfio_alloc_device(ksim, vdev, &mdev->dev, &ksim_device_ops);
	int ret;

	if (IS_ERR(k))
		return PTR_ERR(k);
	ret = vfio_register_emulated_iommu_dev(&k->vdev);
	if (ret) {
		vfio_put_device(&k->vdev);
		return ret;
	}
	dev_set_drvdata(&mdev->dev, k);
	ksim_debugfs_add(k, dev_name(&mdev->dev));
	return 0;
}

/* Waits for who has it open. */
static void remove(struct mdev_device *mdev)
{
	struct ksim *k = dev_get_drvdata(&mdev->dev);

	ksim_debugfs_remove(k);
	vfio_unregister_group_dev(&k->vdev);
	vfio_put_device(&k->vdev);
}

static ssize_t show_description(struct mdev_type *type, char *buf)
{
	return sysfs_emit(buf, "%s\n", container_of(type, struct type, type)->who->about);
}

static struct mdev_driver driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = DEVICES_MAX,
	.driver = {
		.name = "vfm_sim",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
		.dev_groups = ksim_attribute_groups,
	},
	.probe = probe,
	.remove = remove,
	.show_description = show_description,
};

/* ---- the parent ---- */

static const struct class parent_class = {
	.name = "vfm_sim",
};

/* It is static: it is gone when the module is. */
static void release_parent(struct device *dev)
{
}

static void list_types(void)
{
	const struct sim_personality *who;
	unsigned int i;

	for (i = 0; i < TYPES_MAX && (who = sim_personality_at(i)); i++) {
		parent.type[i].who = who;
		parent.type[i].type.sysfs_name = who->name;
		parent.type[i].type.pretty_name = who->name;
		parent.types[i] = &parent.type[i].type;
	}
	parent.type_count = i;
}

static int add_parent(void)
{
	int ret;

	parent.dev.class = &parent_class;
	parent.dev.release = release_parent;
	dev_set_name(&parent.dev, "vfm_sim");
	ret = device_register(&parent.dev);
	if (ret) {
		put_device(&parent.dev);
		return ret;
	}
	list_types();
	ret = mdev_register_parent(&parent.mdev, &parent.dev, &driver, parent.types,
				   parent.type_count);
	if (ret)
		device_unregister(&parent.dev);
	return ret;
}

static int __init ksim_init(void)
{
	int ret;

	ksim_attributes_init();
	ret = ksim_host_init();
	if (ret)
		return ret;
	ret = mdev_register_driver(&driver);
	if (ret)
		goto err_host;
	ret = class_register(&parent_class);
	if (ret)
		goto err_driver;
	ksim_debugfs_init();
	ret = add_parent();
	if (ret)
		goto err_class;
	return 0;

err_class:
	ksim_debugfs_exit();
	class_unregister(&parent_class);
err_driver:
	mdev_unregister_driver(&driver);
err_host:
	ksim_host_exit();
	return ret;
}

static void __exit ksim_exit(void)
{
	mdev_unregister_parent(&parent.mdev);
	device_unregister(&parent.dev);
	ksim_debugfs_exit();
	class_unregister(&parent_class);
	mdev_unregister_driver(&driver);
	ksim_host_exit();
}

module_init(ksim_init);
module_exit(ksim_exit);

MODULE_LICENSE("Dual BSD/GPL");
KSIM_IMPORT_NS(IOMMUFD); /* iova_bitmap */
MODULE_DESCRIPTION("Simulated VFIO devices that migrate");
MODULE_AUTHOR("libvfio-migrate");
