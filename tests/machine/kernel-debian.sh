#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Debian's kernel as it is, with mtty built for it. Sourced by machine, with kernel.sh.

# As of packages that were installed, by the links that these bring along: headers is one more.
take_debian_headers() # RELEASE TREE
{
	mkdir usr
	cp -a "$2/usr/src" "$2/usr/lib" usr
	ln -s "usr/src/linux-headers-$1" headers
}

make_mtty() # PACKAGES
{
	mkdir mtty
	tar -xJf "$1/source.tar.xz" -C mtty --strip-components=3 \
		"linux-source-$kernel_series/samples/vfio-mdev/mtty.c"
	echo "obj-m += mtty.o" >mtty/Makefile
	env -u CC -u ARCH -u MAKEFLAGS make -s -C headers M="$PWD/mtty" \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules # pahole would be needed
}

# Unpacked, since busybox wants them so.
make_debian() # RELEASE PACKAGES
{
	local modules=root/lib/modules/$1

	take_debian_headers "$1" "$2/tree"
	make_mtty "$2"
	mkdir -p "$modules/kernel"
	find "$2/tree" -path "*/lib/modules/$1/modules.*" -exec cp {} "$modules" \;
	find "$2/tree" -name '*.ko.xz' -exec cp {} "$modules/kernel" \;
	unxz "$modules"/kernel/*.xz
	strip --strip-debug -o "$modules/kernel/mtty.ko" mtty/mtty.ko
	/sbin/depmod -b root "$1"
	cp "$2/tree/boot/vmlinuz-$1" vmlinuz
	take_busybox "$2"
	rm -rf mtty
}
