#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Where the test machine's kernels are kept between runs. Sourced by machine.
#
# A directory's name has a hash of what it is made of, so that it is never changed. It is made aside,
# under a lock, and gets its name when it is complete.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/libvfio-migrate
cache_keep_days=30 # without use

hash_of() # TEXT...; one hash of all of them
{
	printf '%s\n' "$@" | sha256sum | cut -c 1-16
}

# Make $cached by COMMAND, which fills its current directory.
make_aside() # COMMAND...
{
	local part=$cached.part status

	rm -rf "$part"
	mkdir "$part"
	# Not in a condition, where COMMAND would go on after a failed step.
	set +e
	(set -e; cd "$part"; exec {lock}>&-; "$@")
	status=$?
	set -e
	if [ "$status" = 0 ]; then
		mv "$part" "$cached"
	else
		rm -rf "$part"
		cached=
	fi
}

# cached NAME COMMAND...: sets $cached to the directory NAME, made by COMMAND unless it is there, or
# to nothing if COMMAND fails. Not for use in a condition.
cached()
{
	local lock

	cached=$cache/$1
	mkdir -p "$cache"
	exec {lock}>"$cached.lock"
	flock -n "$lock" || {
		echo "another run makes $1; waiting for it"
		flock "$lock"
	}
	[ -d "$cached" ] || make_aside "${@:2}"
	[ -z "$cached" ] || touch "$cached"
	exec {lock}>&-
}

# Away with what nobody has used for long, and what killed runs have left half made.
prune_cache()
{
	local part

	[ -d "$cache" ] || return 0
	find "$cache" -mindepth 1 -maxdepth 1 -mtime "+$cache_keep_days" -exec rm -rf {} +
	for part in "$cache"/*.part; do
		[ ! -d "$part" ] || flock -n "${part%.part}.lock" rm -rf "$part" || true
	done
}
