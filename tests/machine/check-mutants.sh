#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The rules of the checker find the device that breaks them through the kernel, too, and no other rule
# of the family complains of that one: vfm_sim as each mutant in turn. (tests/test-check.c tries all
# rules on each, in user space.)
# shellcheck source=lib.sh
. /t/lib.sh

one=50000000-0000-0000-0000-000000000001
twin=50000000-0000-0000-0000-000000000002

# What the mutant has no part in: VFIO's core answers by itself, fds are opened for one direction, and
# a report goes through a bitmap of the core's.
core=' feature-probe feature-unknown feature-direction feature-both feature-none feature-argsz-small
feature-argsz-large feature-unknown-flags session-read-loading session-write-saving reinit-opt-in
reinit-forms log-overlap log-unaligned log-wrap log-many log-after-refusal log-tail '
core=$(echo "$core" | tr '\n' ' ')
[ "$MACHINE_KERNEL" != debian ] || core="$core log-off " # it refuses every report

check() # RULES
{
	"$VFIO_MIGRATE" check --yes --seed=1 --only="$1" $one $twin >out 2>&1 || true
	broken=$(awk '$1 == "FAILED" { print $3 }' out | xargs)
}

make_sim $one generic state_size=40K
make_sim $twin generic state_size=40K seed=2
"$VFIO_MIGRATE" check --list >rules

tried=0
wrong=
for family in $(awk '{ print $2 }' rules | uniq); do
	set_sim $one mutant=none
	check "$family"
	[ -z "$broken" ] || fail "the device that breaks nothing breaks $broken"
	for rule in $(awk '$1 == "ok" { print $3 }' out); do
		set_sim $one "mutant=$rule" 2>/dev/null || continue # there is none of a rule for fds
		check "$family"
		case $core in
		*" $rule "*) expected= ;;
		*) expected=$rule ;;
		esac
		tried=$((tried + 1))
		[ "$broken" = "$expected" ] || {
			grep -A 1 '^FAILED' out || true
			wrong="$wrong; $rule is found to break ${broken:-nothing}"
		}
	done
done
echo "$tried mutants"
[ -z "$wrong" ] || fail "the mutant${wrong#;}"
[ $tried -ge 50 ] || fail "these are too few"
