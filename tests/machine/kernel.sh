#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The test machine's kernels, made of Debian's packages; none of these is installed. Sourced by
# machine, with cache.sh.
#
# A kernel is a directory of the cache: vmlinuz, busybox and root/lib/modules. The kind debian is
# Debian's kernel with mtty built for it.

kernel_series=6.12
# And mtty, which Debian has not built.
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

	[ "$(id -u)" = 0 ] || admin=(sudo -n)
	"${admin[@]}" apt-get -q update
}

download() # RELEASE
{
	local release=$1 common=${1%-amd64} version

	version=$(apt-cache show --no-all-versions "linux-headers-$release" |
		sed -n 's/^Version: //p')
	apt-get -q -o Acquire::Retries=1 -o APT::Sandbox::User=root download \
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

	download "$1" || { update_lists && download "$1"; } || return
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

# ---- Debian's kernel ----

make_mtty() # RELEASE PACKAGES
{
	mkdir mtty
	tar -xJf "$2/source.tar.xz" -C mtty --strip-components=3 \
		"linux-source-$kernel_series/samples/vfio-mdev/mtty.c"
	echo "obj-m += mtty.o" >mtty/Makefile
	env -u CC -u ARCH -u MAKEFLAGS make -s -C "$2/tree/usr/src/linux-headers-$1" M="$PWD/mtty" \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules # pahole would be needed
}

# Unpacked, since busybox wants them so.
make_debian() # RELEASE PACKAGES
{
	local modules=root/lib/modules/$1

	make_mtty "$1" "$2"
	mkdir -p "$modules/kernel"
	find "$2/tree" -path "*/lib/modules/$1/modules.*" -exec cp {} "$modules" \;
	find "$2/tree" -name '*.ko.xz' -exec cp {} "$modules/kernel" \;
	unxz "$modules"/kernel/*.xz
	strip --strip-debug -o "$modules/kernel/mtty.ko" mtty/mtty.ko
	/sbin/depmod -b root "$1"
	cp "$2/tree/boot/vmlinuz-$1" vmlinuz
	find "$2/tree" -name busybox -path '*/bin/*' -exec cp {} busybox \;
	rm -rf mtty
}

# kernel KIND: its directory is left in $cached.
kernel()
{
	local release recipe packages=

	release=$(newest_release)
	[ -n "$release" ] || { update_lists && release=$(newest_release); } || true
	[ -n "$release" ] || skip_all "apt knows no kernel $kernel_series"
	recipe=$1-$(hash_of "$release" "$(cat "$here"/kernel*)")
	if [ ! -d "$cache/$recipe" ]; then
		need_packages "${packages_kernel[@]}"
		echo "test machine: preparing kernel $release ($1)"
		cached "packages-$release" make_packages "$release"
		packages=$cached
		[ -n "$packages" ] || skip_all "the packages of kernel $release cannot be had"
	fi
	cached "$recipe" "make_$1" "$release" "$packages"
	[ -n "$cached" ] || die "the test machine's kernel cannot be built"
}
