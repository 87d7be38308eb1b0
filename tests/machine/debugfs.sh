#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The kernel's own word on a device's migration state.
# shellcheck source=lib.sh
. /t/lib.sh

one=20000000-0000-0000-0000-000000000001

make_mtty $one
[ "$(state_of $one)" = RUNNING ] || fail "the state of a new device is '$(state_of $one)'"
