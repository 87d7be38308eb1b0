#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The simulated device in the kernel: its options, and the tools on it.
# shellcheck source=lib.sh
. /t/lib.sh

one=30000000-0000-0000-0000-000000000001
two=30000000-0000-0000-0000-000000000002

make_sim $one generic state_size=1M
make_sim $two generic state_size=1M

echo "---- info"
"$VFIO_MIGRATE" info $one >out 2>&1 || fail "info: $(cat out)"
cat out
grep -q 'driver           vfm_sim' out || fail "another driver"
grep -q 'migration        STOP_COPY, P2P, PRE_COPY' out || fail "other capabilities"

echo "---- save, restore"
"$VFIO_MIGRATE" save $one state >out 2>&1 || fail "save: $(cat out)"
"$VFIO_MIGRATE" restore $two state >out 2>&1 || fail "restore: $(cat out)"
cat /sys/kernel/debug/vfm_sim/$two/* || true
