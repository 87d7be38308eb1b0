#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The test machine's kernels, made of Debian's packages; none of these is installed. Sourced by
# machine, with cache.sh and archive.sh.
#
# A kernel is a directory of the cache: vmlinuz, busybox, root/lib/modules, and headers, which is what
# "make -C" wants for a driver. For each of the kinds there is a function make_KIND, in
# kernel-debian.sh and kernel-made.sh. The packages of debian and full are those that the host's apt
# knows, the ones of new are of Debian unstable.

kernel_series=6.12
packages_debian=(binutils gcc kmod make xz-utils)
# shellcheck disable=SC2034 # kernel() has it by another name
packages_full=("${packages_debian[@]}" bc bison flex libelf-dev)
# shellcheck disable=SC2034
packages_new=("${packages_full[@]}" debian-archive-keyring)
# Of Debian's; to these comes mtty.
kernel_modules=(vfio vfio_iommu_type1 vfio-pci vfio-pci-core mdev irqbypass kvm kvm-amd ccp
	netfs 9pnet 9pnet_virtio 9p)
# What goes into a kernel besides its packages.
declare -A kernel_files=(
	[debian]="kernel-debian.sh"
	[full]="kernel-made.sh kernel-made.config kernel-full.config"
	[new]="kernel-made.sh kernel-made.config kernel-new.config")

declare -A kernel_takes=(
	[debian]="about a minute, and the download"
	[full]="a quarter of an hour, and the download"
	[new]="ten minutes, and the download")

# ---- packages ----

# The newest kernel of the series that apt knows, as it calls itself (uname -r); or nothing.
newest_stable()
{
	command -v apt-cache >/dev/null || return 0
	apt-cache search --names-only "^linux-headers-$kernel_series\\.[0-9.]+\\+deb[0-9]+-amd64\$" |
		cut -d ' ' -f 1 | sed 's/^linux-headers-//' | sort -V | tail -n 1
}

update_stable()
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

# The packages' files into tree/, the kernel's source packed.
unpack()
{
	local package

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
	mv tree/usr/src/linux-source-*.tar.xz source.tar.xz
}

make_packages_stable() # RELEASE
{
	download "$1"
	unpack
	# It names a place in /usr/src, where the headers are not.
	sed -i 's#/usr/src/#../#' "tree/usr/src/linux-headers-$1/Makefile"
}

# Of unstable: the newest source, as its package and version, "linux-source-7.2=7.2.13-1"; or nothing.
newest_unstable()
{
	[ -z "$archive" ] || archive_newest '^linux-source-[0-9]+\.[0-9]+$'
}

update_unstable()
{
	[ -n "$archive" ] && archive_reopen && [ -n "$archive" ]
}

make_packages_unstable() # PACKAGE=VERSION
{
	archive_apt apt-get -qq download "$1" busybox-static
	unpack
}

# Sets $release to the newest and $packages to their directory, or this to nothing. What apt knows may
# be older than what the archive has: SUITE
get_packages()
{
	local lists

	packages=
	for lists in known updated; do
		[ "$lists" = known ] || "update_$1" || return 0
		release=$("newest_$1")
		[ -n "$release" ] || continue
		echo "test machine: getting Debian's packages of it, up to 300 MB ($release)"
		cached "packages-$(hash_of "$release" "${kernel_modules[*]}")" \
			"make_packages_$1" "$release"
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
	local files

	read -ra files <<<"${kernel_files[$1]}"
	echo "$1-$(hash_of "$2" "$(cd "$here" && cat "${files[@]}")")"
}

# What was looked for, and what would help: SUITE; $release
missing_packages()
{
	if [ "$1" = unstable ]; then
		echo "apt does not get a kernel's source of Debian unstable: ${release:-linux-source-*}"
	elif [ -n "$release" ]; then
		echo "apt does not get the packages of linux-headers-$release and its like"
	else
		echo "apt knows no linux-headers-$kernel_series.*+deb*-amd64; on Debian 12 please add" \
			"bookworm-security or bookworm-backports to apt's sources"
	fi
}

# kernel KIND: its directory is left in $cached.
kernel()
{
	local -n needed=packages_$1
	local suite=stable release packages archive

	if [ "$1" = new ]; then
		suite=unstable
		need_packages debian-archive-keyring
		archive_open sid
	fi
	release=$("newest_$suite")
	cached=$cache/$(kernel_name "$1" "$release")
	if [ -d "$cached" ]; then
		touch "$cached" # in use
		return
	fi
	need_packages "${needed[@]}"
	echo "test machine: preparing a kernel ($1), once; ${kernel_takes[$1]}"
	get_packages "$suite"
	[ -n "$packages" ] || skip_all "$(missing_packages "$suite")"
	echo "test machine: making the kernel of its packages"
	cached "$(kernel_name "$1" "$release")" "make_$1" "$release" "$packages"
	[ -n "$cached" ] || die "the test machine's kernel cannot be built"
}
