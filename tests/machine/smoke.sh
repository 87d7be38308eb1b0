#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What every other test in the machine needs.
# shellcheck source=lib.sh
. /t/lib.sh

one=10000000-0000-0000-0000-000000000001
two=10000000-0000-0000-0000-000000000002

make_mtty $one
make_mtty $two 2
test -c "$(group_of $one)" || fail "no group of the first device"
test -c "$(group_of $two)" || fail "no group of the second device"
test -c "$(group_of "$pci_device")" || fail "no group of the PCI device"
test -c /dev/vfio/vfio || fail "no VFIO container"
test -c /dev/kvm || fail "no KVM in the machine"
"$VFIO_MIGRATE" --version
if [ "$MACHINE_KERNEL" != debian ]; then
	test -c "$(cdev_of $one)" || fail "no cdev of the first device"
	test -c "$(cdev_of "$pci_device")" || fail "no cdev of the PCI device"
	test -c /dev/iommu || fail "no iommufd"
fi
remove_mtty $one
test ! -e $mdev_devices/$one || fail "the device is still there"
