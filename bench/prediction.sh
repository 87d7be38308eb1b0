#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# How good the predicted downtime is: many demo migrations of different sizes, latencies and rates.
# Told are the median and the 95th percentile of |predicted - measured| / measured, and how often the
# limit was broken. The same SEED gives the same cases.
#
#	bench/prediction.sh [RUNS [SEED [PROGRAM]]]        200 1 build-release/cli/vfio-migrate
#
# What can be configured is told truly: every transition that a device has not made before takes as
# long as --transition-estimate says. What has to be measured is not told.
set -euo pipefail

runs=${1:-200}
RANDOM=${2:-1}
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
program=${3:-$root/build-release/cli/vfio-migrate}
patience=30 # seconds of one migration
arcs=(PRE_COPY:PRE_COPY_P2P PRE_COPY_P2P:STOP_COPY RESUMING:STOP STOP:RUNNING_P2P
	RUNNING_P2P:RUNNING)
terms=(stop memory state load handover)

[ -x "$program" ] || { echo "prediction.sh: no program at $program: ./run bench builds it" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# any NAME VALUE...: sets it to one of the values. Not in a subshell, which would have a RANDOM of
# its own.
any()
{
	local -n chosen=$1

	shift $((RANDOM % ($# - 1) + 1))
	chosen=$1
}

# Fills `options`; `case` is a line that says what is special.
choose()
{
	local devices memory state rate dirty load latency room limit bandwidth arc

	any devices 1 1 2 4
	any memory 32 64 128 256
	any state 1 4 16 64
	any dirty 1 4 16 32
	any rate 0 1 2 4
	any load 0 0 200 1000
	any latency 1 2 5 10 20
	any bandwidth unlimited unlimited 128M 256M 512M
	any room 30 60 100 200
	limit=$((5 * latency + room))
	options=(--accel=thread --devices="$devices" --memory="${memory}M" --state-size="${state}M"
		--dirty-rate="${dirty}M" --state-dirty-rate="${rate}M" --bandwidth="$bandwidth"
		--downtime-limit="$limit" --transition-estimate="$latency"
		--sim=load-cost-us-per-mib="$load")
	for arc in "${arcs[@]}"; do
		options+=(--arc-latency="$arc=$latency")
	done
	allowed=$limit
	what="$devices x ${state}M, $memory M, dirty $dirty + $rate M/s, load $load us/M, arcs $latency ms, $bandwidth"
}

# The number of a top-level member of the report.
number()
{
	sed -n "s/^ *\"$1\": *\([0-9.]*\),*\$/\1/p" "$scratch/report" | head -n 1
}

# What is measured and what is predicted of a term: the report has the two in this order.
term()
{
	sed -n "s/^ *\"$1\": *\([0-9.]*\),*\$/\1/p" "$scratch/report" | head -n 2 | paste -sd' '
}

failed=0
for ((i = 1; i <= runs; i++)); do
	choose
	if ! timeout "$patience" "$program" demo --quiet --json="$scratch/report" "${options[@]}" \
		2>"$scratch/errors"; then
		failed=$((failed + 1))
		echo "no switchover: $what: $(tail -n 1 "$scratch/errors")" >&2
		continue
	fi
	echo "$(number predicted_downtime_ms) $(number downtime_ms) $allowed $what" >>"$scratch/results"
	for name in "${terms[@]}"; do
		echo "$name $(term "${name}_ms")" >>"$scratch/terms"
	done
	[ ! -t 2 ] || printf '\r%d of %d' "$i" "$runs" >&2
done
[ ! -t 2 ] || printf '\r' >&2
[ -s "$scratch/results" ] || { echo "prediction.sh: nothing completed" >&2; exit 1; }

awk '{ e = $1 > $2 ? $1 - $2 : $2 - $1; printf "%.4f %s\n", e / $2, $0 }' "$scratch/results" |
	sort -n >"$scratch/sorted"
echo "the five worst: relative error, predicted, measured, limit (ms), case"
tail -n 5 "$scratch/sorted"
awk -v failed="$failed" '
	{ error[NR] = $1; broken += $3 > $4; over += $3 > $2 }
	END {
		printf "%d migrations, %d did not switch over\n", NR, failed
		printf "relative error: median %.1f %%, 95th percentile %.1f %% (aim: under 25 %%)\n",
			100 * error[int((NR + 1) / 2)], 100 * error[int(NR * 0.95 + 0.999999)]
		printf "longer than predicted: %d; limit broken: %d, %.1f %% (aim: under 2 %%)\n",
			over, broken, 100 * broken / NR
	}' "$scratch/sorted"
awk '
	{ n[$1]++; measured[$1] += $2; predicted[$1] += $3; e = $2 > $3 ? $2 - $3 : $3 - $2; off[$1] += e }
	END {
		print "mean of each term, ms: measured, predicted, off by"
		for (name in n)
			printf "  %-10s %8.2f %8.2f %8.2f\n", name, measured[name] / n[name],
				predicted[name] / n[name], off[name] / n[name]
	}' "$scratch/terms"
