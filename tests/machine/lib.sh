# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# For the test scripts in the machine, which begin with ". /t/lib.sh". They run under busybox' sh in
# an empty directory of their own that is gone afterwards, as are their processes and mdev devices.
# Status 0 is passed, 77 skipped. $VFIO_MIGRATE is the program, $MACHINE_KERNEL debian,
# full or new.
set -eu

# A PCI device behind an IOMMU, bound to vfio-pci: no migration.
# shellcheck disable=SC2034 # the tests have it
pci_device=0000:00:02.0

mdev_types=/sys/devices/virtual/mtty/mtty/mdev_supported_types
sim_types=/sys/devices/virtual/vfm_sim/vfm_sim/mdev_supported_types
mdev_devices=/sys/bus/mdev/devices

fail()
{
	echo "failed: $*" >&2
	exit 1
}

skip()
{
	echo "skipped: $*" >&2
	exit 77
}

# make_mtty UUID [PORTS]: a device with 1 port or 2
make_mtty()
{
	echo "$1" >"$mdev_types/mtty-${2:-1}/create"
	wait_for test -e "$mdev_devices/$1"
}

# make_sim UUID [PERSONALITY [NAME=VALUE...]]: a simulated device in the kernel (vfm_sim), the generic
# one unless said otherwise, with options as in docs/kernel-simulator.md
make_sim()
{
	local uuid=$1

	echo "$uuid" >"$sim_types/vfm_sim-${2:-generic}/create"
	wait_for test -d "$mdev_devices/$uuid/vfm_sim"
	shift
	[ $# = 0 ] || shift
	set_sim "$uuid" "$@"
}

set_sim() # UUID NAME=VALUE...
{
	local uuid=$1

	shift
	for option; do
		echo "${option#*=}" >"$mdev_devices/$uuid/vfm_sim/${option%%=*}"
	done
}

remove_mdev() # UUID; waits for who has it open
{
	echo 1 >"$mdev_devices/$1/remove"
}

remove_mtty() # UUID; waits for who has it open
{
	echo 1 >"$mdev_devices/$1/remove"
}

# group_of UUID|$pci_device: its /dev/vfio/N
group_of()
{
	echo "/dev/vfio/$(basename "$(readlink /sys/bus/*/devices/"$1"/iommu_group)")"
}

# cdev_of UUID|$pci_device: its /dev/vfio/devices/vfioN; the kernel debian has none
cdev_of()
{
	set -- /sys/bus/*/devices/"$1"/vfio-dev/*
	echo "/dev/vfio/devices/$(basename "$1")"
}

# state_of UUID: as the kernel tells it in debugfs; the kernel debian does not
state_of()
{
	cat "/sys/kernel/debug/vfio/$1/migration/state"
}

# wait_for COMMAND...: until it succeeds, 60 s at most
wait_for()
{
	local tries=600

	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "in vain waited for: $*"
		sleep 0.1
	done
}
