#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Packages of another suite of Debian's archive than this machine's, which are only unpacked. Sourced by
# machine, with cache.sh; or by anything else that wants such packages:
#
#	source tests/machine/cache.sh
#	source tests/machine/archive.sh
#	archive_tree "QEMU 10" trixie qemu-system-x86	# with all that it depends on
#	[ -n "$cached" ] || ...				# apt does not get it
#	chroot "$cached/tree" qemu-system-x86_64 ...	# or a loader with --library-path
#
# Apt works with lists and directories of its own in the cache, never with the machine's. From these it
# has the mirror's address, and by Debian's keys it checks what it gets. The lists of a suite are
# fetched again when what they promise is gone, and with the cache's other directories they are
# forgotten after a while, so that what is newest in a suite is not what was so for ever.

archive_keys=/usr/share/keyrings/debian-archive-keyring.gpg

# Addresses that apt has: those of which it knows that they are Debian's, and before it has fetched any
# list those that look so.
archive_mirrors()
{
	# shellcheck disable=SC2016 # apt's
	local wanted=(--format '$(REPO_URI)' 'Created-By: Packages')

	apt-get indextargets "${wanted[@]}" 'Origin: Debian' 'Label: Debian'
	apt-get indextargets "${wanted[@]}" | grep -E '/debian/?$'
}

# The first of them, or nothing.
archive_mirror()
{
	local all

	all=$(archive_mirrors 2>/dev/null) || true
	echo "${all%%$'\n'*}"
}

# Apt for the lists in $archive: TOOL ARGUMENT...
archive_apt()
{
	local tool=$1

	shift
	"$tool" -o Dir::Etc::SourceList="$archive/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$archive" -o Dir::State::Status="$archive/status" \
		-o Dir::Cache="$archive/cache" -o APT::Architecture=amd64 -o APT::Architectures=amd64 \
		-o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none \
		-o Acquire::Retries=1 "$@"
}

archive_fetch_lists()
{
	archive_apt apt-get -qq -o APT::Update::Error-Mode=any update
}

archive_make_lists() # SUITE
{
	local archive=$PWD mirror

	mirror=$(archive_mirror)
	[ -n "$mirror" ] || return 1
	mkdir -p lists/partial cache/archives/partial
	: >status
	echo "deb [signed-by=$archive_keys] $mirror $1 main" >sources.list
	archive_fetch_lists
}

# Sets $archive to the directory of a suite's lists, or to nothing: SUITE
archive_open()
{
	cached "lists-$1" archive_make_lists "$1"
	archive=$cached
}

archive_reopen()
{
	local lock

	exec {lock}>"$archive.lock"
	flock "$lock"
	archive_fetch_lists || archive=
	exec {lock}>&-
}

# Of the packages whose names fit a regular expression the one with the highest version in its name, as
# "NAME=VERSION", or nothing: EXPRESSION
archive_newest()
{
	local name

	name=$(archive_apt apt-cache search --names-only "$1" | cut -d ' ' -f 1 | sort -V | tail -n 1)
	[ -z "$name" ] ||
		archive_apt apt-cache show --no-all-versions "$name" |
			sed -n "s/^Version: /$name=/p"
}

# What it takes to have these packages on a machine that has nothing: PACKAGE...
archive_closure()
{
	archive_apt apt-get -qq -y --print-uris install "$@" | sed -n "s/^'.*' \([^ ]*\.deb\) .*/\1/p"
}

archive_make_tree() # PACKAGE...
{
	local package

	mkdir -p debs/partial tree/usr/{bin,sbin,lib,lib64}
	ln -s usr/{bin,sbin,lib,lib64} tree # as the package base-files has it
	archive_apt apt-get -qq -y -o Dir::Cache::Archives="$PWD/debs" -o Debug::NoLocking=true \
		--download-only install "$@"
	for package in debs/*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C tree \
			--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
			--exclude='./usr/share/locale/*'
	done
	rm -rf debs
}

# Sets $cached to a directory with tree/, in which are packages and all that they depend on, or to
# nothing: WHAT SUITE PACKAGE...; WHAT is said when they are not there yet. Not for use in a condition.
archive_tree()
{
	local archive lists files

	cached=
	for lists in known new; do
		if [ "$lists" = known ]; then
			archive_open "$2"
		else
			archive_reopen
		fi
		[ -n "$archive" ] || break
		files=$(archive_closure "${@:3}")
		[ -n "$files" ] || continue
		cached=$cache/tree-$(hash_of "$files")
		[ -d "$cached" ] || echo "getting $1 from Debian $2"
		cached "${cached##*/}" archive_make_tree "${@:3}"
		[ -z "$cached" ] || return 0
	done
	cached=
}
