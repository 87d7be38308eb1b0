#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Memory to which nothing points, of all tests that ran before this one. The second look leaves out what
# was only on its way.
# shellcheck source=lib.sh
. /t/lib.sh

leaks=/sys/kernel/debug/kmemleak
test -e "$leaks" || skip "this kernel does not look for leaks"

echo scan >"$leaks"
echo scan >"$leaks"
cat "$leaks" >found
test ! -s found || fail "$(cat found)"
