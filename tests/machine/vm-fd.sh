#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A VM on a device that somebody else has opened.
# shellcheck source=lib.sh
. /t/lib.sh

uuid=10000000-0000-0000-0000-000000000001

make_mtty $uuid
exec 5<>"$(cdev_of $uuid)"
"$VFIO_MIGRATE" vm --memory 32M --vfio fd:5,name=card --serial said &
vm=$!
wait_for grep -q "guest: up" said
kill $vm
wait $vm || fail "the VM ended with status $?"
if grep FAILED said; then
	fail "the guest found something wrong"
fi
