#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The conformance checker on devices of a real kernel. What is known of mtty is in docs/checker.md.
# shellcheck source=lib.sh
. /t/lib.sh

one=10000000-0000-0000-0000-000000000001
twin=10000000-0000-0000-0000-000000000002

make_mtty $one
make_mtty $twin

"$VFIO_MIGRATE" check --yes --seed=1 --json=report $one $twin >out 2>&1 || {
	cat out
	fail "a must was broken, or the device could not be checked"
}
cat out
for rule in state-allowed end-zero load-own load-pre-copy hostile-flip reset-state reopen-state \
	peer-load; do
	grep -q "^ok  *must  *$rule " out || fail "$rule was not tried"
done
# Its log is a stub, which starts whenever it is told to.
grep -q '^FAILED  *should  *log-twice ' out || fail "log-twice was not found"
[ -s report ] || fail "there is no report"
