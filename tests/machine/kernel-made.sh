#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Kernels that are compiled from Debian's source: small, and with what Debian's lack. Sourced by machine,
# with kernel.sh. What a kernel KIND is configured with: kernel-made.config and kernel-KIND.config.

made_files=1400 # are compiled, about

source_make() # ARGUMENT...
{
	nice -n 15 env -u CC -u ARCH -u MAKEFLAGS make -C source "$@"
}

# Every option must have been taken, else tests would miss it later.
configure() # KIND
{
	local missing

	cat "$here/kernel-made.config" "$here/kernel-$1.config" >wanted
	source_make -s KCONFIG_ALLCONFIG="$PWD/wanted" allnoconfig
	missing=$(grep '^CONFIG' wanted | grep -vxFf source/.config) || return 0
	die "the kernel's configuration does not take: ${missing//$'\n'/, }"
}

tell_progress()
{
	awk -v all="$made_files" '
		/^  (CC|AS) / && ++files % 100 == 0 {
			print "test machine: " files " of about " all " files compiled"
			fflush()
		}'
}

compile()
{
	source_make -j"$(nproc)" bzImage modules 2>&1 | tee log | tell_progress || {
		tail -n 20 log
		return 1
	}
}

# What builds a driver needs, and no more, as the kernel's own packages have it.
take_headers()
{
	# shellcheck disable=SC2016 # make's
	source_make -s run-command \
		KBUILD_RUN_COMMAND='+$(srctree)/scripts/package/install-extmod-build '"$PWD/headers"
	cp source/.config headers
}

make_kernel() # KIND PACKAGES
{
	local release modules

	mkdir source
	tar -xJf "$2/source.tar.xz" -C source --strip-components=1
	configure "$1"
	compile
	take_headers
	release=$(<source/include/config/kernel.release)
	modules=root/lib/modules/$release
	mkdir -p "$modules/kernel"
	cp source/modules.{order,builtin,builtin.modinfo} "$modules"
	find source -name '*.ko' -exec cp {} "$modules/kernel" \;
	/sbin/depmod -b root "$release"
	cp source/arch/x86/boot/bzImage vmlinuz
	take_busybox "$2"
	rm -rf source
}

make_full() # RELEASE PACKAGES
{
	make_kernel full "$2"
}

make_new() # RELEASE PACKAGES
{
	make_kernel new "$2"
}
