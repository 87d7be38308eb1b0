#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vfm_sim (sim/kernel) of this tree, built for the test machine's kernel. Sourced by machine, with
# kernel.sh. It is built in BUILD/module-KERNEL, and there again only what has changed.

packages_module=(binutils gcc kmod make)

# module_build HEADERS DIRECTORY: leaves DIRECTORY/vfm_sim.ko
module_build()
{
	"$here/../../sim/kernel/stage" "$2"
	nice -n 10 env -u CC -u ARCH -u MAKEFLAGS make -s -j"$(nproc)" -C "$1" M="$2" \
		KCFLAGS=-Werror CONFIG_DEBUG_INFO_BTF_MODULES= modules # pahole would be needed
}

# Into the machine's file system, beside the own modules of the kernel in $cached.
module_install() # KIND ROOT
{
	local headers=$cached/headers modules=("$2"/lib/modules/*) directory=$build/module-$1

	need_packages "${packages_module[@]}"
	# Objects of another kernel would be taken for this one's.
	[ "$(cat "$directory/for" 2>/dev/null)" = "$headers" ] || rm -rf "$directory"
	mkdir -p "$directory"
	echo "$headers" >"$directory/for"
	module_build "$headers" "$directory" >"$directory/log" 2>&1 || {
		tail -n 40 "$directory/log"
		die "vfm_sim cannot be built; what the compiler said is in $directory/log"
	}
	strip --strip-debug -o "${modules[0]}/kernel/vfm_sim.ko" "$directory/vfm_sim.ko"
	/sbin/depmod -b "$2" "${modules[0]##*/}"
}
