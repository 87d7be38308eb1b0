#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A kernel of the same source, small, and configured with what Debian's lacks: kernel-full.config.
# Sourced by machine, with kernel.sh.

full_files=1280 # are compiled, about

source_make() # ARGUMENT...
{
	nice -n 10 env -u CC -u ARCH -u MAKEFLAGS make -C source "$@"
}

# Every option must have been taken, else tests would miss it later.
configure_full()
{
	local config=$here/kernel-full.config missing

	source_make -s KCONFIG_ALLCONFIG="$config" allnoconfig
	missing=$(grep '^CONFIG' "$config" | grep -vxFf source/.config) || return 0
	die "the kernel's configuration does not take: ${missing//$'\n'/, }"
}

tell_progress()
{
	awk -v all="$full_files" '
		/^  (CC|AS) / && ++files % 100 == 0 {
			print "test machine: " files " of about " all " files compiled"
			fflush()
		}'
}

compile_full()
{
	source_make -j"$(nproc)" bzImage modules 2>&1 | tee log | tell_progress || {
		tail -n 20 log
		return 1
	}
}

make_full() # RELEASE PACKAGES
{
	local release modules

	mkdir source
	tar -xJf "$2/source.tar.xz" -C source --strip-components=1
	configure_full
	compile_full
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
