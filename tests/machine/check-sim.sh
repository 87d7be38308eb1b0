#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The conformance checker on vfm_sim, the simulated device of a real kernel: every personality keeps
# every must, alone and with a peer.
# shellcheck source=lib.sh
. /t/lib.sh

one=40000000-0000-0000-0000-000000000001
twin=40000000-0000-0000-0000-000000000002

# check_sim PERSONALITY [UUID]: the report goes to ./PERSONALITY-alone or -pair
check_sim()
{
	local name broken expected

	name=$1-$([ $# = 1 ] && echo alone || echo pair)
	"$VFIO_MIGRATE" check --yes --seed=1 --json="$name" $one ${2:-} >out 2>&1 || {
		cat out
		fail "$name: a must was broken, or the device could not be checked"
	}
	echo "---- $name"
	grep -v '^ok ' out
	broken=$(awk '$1 == "FAILED" { print $3 }' out | xargs)
	case $1 in
	xe) expected=size-sane ;; # every fourth size is a negative errno
	*) expected= ;;
	esac
	[ "$broken" = "$expected" ] || fail "$name: broken: ${broken:-nothing}"
	[ -s "$name" ] || fail "$name: there is no report"
}

for type in generic mlx5 virtio hisi_acc qat pds xe mtty; do
	size=300K
	case $type in
	hisi_acc | mtty | pds) size= ;;
	esac
	make_sim $one $type ${size:+state_size=$size}
	make_sim $twin $type ${size:+state_size=$size} seed=2
	check_sim $type
	check_sim $type $twin
	remove_mdev $one
	remove_mdev $twin
done
