#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Run both ends of minimal-vmm and see the guest arrive: run-minimal.sh PROGRAM
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
timeout 30 "$1" recv "unix:$dir/move" >"$dir/recv" &
receiver=$!
tries=100
while [ ! -S "$dir/move" ] && [ "$tries" -gt 0 ]; do tries=$((tries - 1)); sleep 0.1; done
timeout 30 "$1" send "unix:$dir/move" >"$dir/send"
wait "$receiver"
grep '"status": "completed"' "$dir/send"
grep 'the guest runs here: [1-9]' "$dir/recv"
