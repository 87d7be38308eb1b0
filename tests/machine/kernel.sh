#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The test machine's kernels, made of Debian's packages; none of these is installed. Sourced by
# machine, with cache.sh.
#
# A kernel is a directory of the cache: vmlinuz, busybox and root/lib/modules. There is a file for
# each of the two kinds, kernel-debian.sh and kernel-full.sh, with a function make_KIND.

kernel_series=6.12
packages_debian=(binutils gcc kmod make xz-utils)
# shellcheck disable=SC2034 # kernel() has it by another name
packages_full=("${packages_debian[@]}" bc bison flex libelf-dev)
# Of Debian's; to these comes mtty.
kernel_modules=(vfio vfio_iommu_type1 vfio-pci vfio-pci-core mdev irqbypass kvm kvm-amd ccp)

# ---- packages ----

# The newest kernel of the series that apt knows, as it calls itself (uname -r); or nothing.
newest_release()
{
	command -v apt-cache >/dev/null || return 0
	apt-cache search --names-only "^linux-headers-$kernel_series\\.[0-9.]+\\+deb[0-9]+-amd64\$" |
		cut -d ' ' -f 1 | sed 's/^linux-headers-//' | sort -V | tail -n 1
}

update_lists()
{
	local admin=()

	[ "$(id -u)" = 0 ] || {
		command -v sudo >/dev/null || return
		admin=(sudo -n)
	}
	"${admin[@]}" apt-get -qq -o APT::Update::Error-Mode=any update
}

download() # RELEASE
{
	local release=$1 common=${1%-amd64} version

	version=$(apt-cache show --no-all-versions "linux-headers-$release" |
		sed -n 's/^Version: //p')
	apt-get -qq -o Acquire::Retries=1 -o APT::Sandbox::User=root download \
		"linux-image-$release=$version" "linux-headers-$release=$version" \
		"linux-headers-$common-common=$version" "linux-kbuild-$common=$version" \
		"linux-source-$kernel_series=$version" busybox-static
}

# Of the image's thousands of modules only those that are used.
unpack_image() # FILE
{
	local wanted=() module

	for module in "${kernel_modules[@]}"; do
		wanted+=("*/$module.ko.xz")
	done
	dpkg-deb --fsys-tarfile "$1" | tar -x -C tree --wildcards \
		'./boot/vmlinuz-*' '*/modules.order' '*/modules.builtin' '*/modules.builtin.modinfo' \
		"${wanted[@]}"
}

# Into the current directory: the packages' files in tree/, the kernel's source packed.
make_packages() # RELEASE
{
	local package

	download "$1"
	mkdir tree
	for package in *.deb; do
		case $package in
		linux-image-*)
			unpack_image "$package" ;;
		*)
			dpkg-deb -x "$package" tree ;;
		esac
		rm "$package"
	done
	mv "tree/usr/src/linux-source-$kernel_series.tar.xz" source.tar.xz
	# It names a place in /usr/src, where the headers are not.
	sed -i 's#/usr/src/#../#' "tree/usr/src/linux-headers-$1/Makefile"
}

# Sets $release to the newest and $packages to their directory, or this to nothing. What apt knows may
# be older than what the archive has.
get_packages()
{
	local lists

	packages=
	for lists in known updated; do
		[ "$lists" = known ] || update_lists || return 0
		release=$(newest_release)
		[ -n "$release" ] || continue
		cached "packages-$(hash_of "$release" "${kernel_modules[*]}")" \
			make_packages "$release"
		packages=$cached
		[ -z "$packages" ] || return 0
	done
}

# ---- kernels ----

take_busybox() # PACKAGES
{
	find "$1/tree" -path '*/bin/busybox' -exec cp {} busybox \;
}

kernel_name() # KIND RELEASE
{
	echo "$1-$(hash_of "$2" "$(cat "$here/kernel-$1".*)")"
}

# kernel KIND: its directory is left in $cached.
kernel()
{
	local -n needed=packages_$1
	local release packages

	release=$(newest_release)
	cached=$cache/$(kernel_name "$1" "$release")
	if [ -d "$cached" ]; then
		touch "$cached" # in use
		return
	fi
	need_packages "${needed[@]}"
	echo "test machine: preparing a kernel $kernel_series ($1)"
	get_packages
	[ -n "$packages" ] || skip_all "apt does not get the packages of a kernel $kernel_series"
	cached "$(kernel_name "$1" "$release")" "make_$1" "$release" "$packages"
	[ -n "$cached" ] || die "the test machine's kernel cannot be built"
}
