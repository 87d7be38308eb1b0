#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The simulated device in the kernel: its options, the tools on it, and that it stays while it is in
# use. The checker on it is check-sim.sh.
# shellcheck source=lib.sh
. /t/lib.sh

one=30000000-0000-0000-0000-000000000001
two=30000000-0000-0000-0000-000000000002
options=$mdev_devices/$one/vfm_sim

tool() # COMMAND...; its output is in the file out
{
	timeout 120 "$VFIO_MIGRATE" "$@" >out 2>&1 || {
		cat out
		fail "vfio-migrate $*: exit status $?"
	}
}

said() # TEXT
{
	grep -q -F -e "$1" out && return
	cat out
	fail "it was not said: $1"
}

# holds NAME VALUE: what a file of options says
holds()
{
	[ "$(cat "$options/$1")" = "$2" ] || fail "$1 is $(cat "$options/$1"), $2 was due"
}

# refused NAME VALUE WHY: a write fails, and the file says what it did before
refused()
{
	local before

	before=$(cat "$options/$1")
	if (echo "$2" >"$options/$1") 2>why; then
		fail "$1=$2 was taken"
	fi
	grep -q "$3" why || fail "$1=$2: $(cat why)"
	holds "$1" "$before"
}

echo "---- options"
make_sim $one
while read -r name value is; do
	set_sim $one "$name=$value"
	holds "$name" "${is:-$value}"
done <<-END
	state_size 1M 1048576
	initial_size 5000 8192
	dirty_rate 2K 2048
	dma_rate 100
	vectors 64
	seed 0xffffffffffffffff 18446744073709551615
	tick_us 250
	dma_logging n 0
	dma_logging 1
	poll 1
	poll 0
	reset_on_disconnect 1
	migration stop-copy
	migration stop-copy,pre-copy
	migration pre-copy,stop-copy,p2p stop-copy,p2p,pre-copy
	arc_latency running:stop=20 RUNNING:STOP=20
	arc_latency none
	load_cost_us_per_mib 1000
	load_at both
	alloc_cost_ms 3
	size_error 0.25 0.250
	size_error 2 2.000
	p2p_target 0xfe000008 4261412872
	p2p_rate 7
	reinit after=100 after=100,times=1
	reinit bytes=1M,size=64K,times=3 bytes=1048576,times=3
	reinit_size 4096
	reinit late late,times=1
	reinit none
	upset error,info=2 error,info=2,times=1
	upset none
	fail_arc STOP:STOP_COPY=EIO@2 STOP:STOP_COPY=EIO@2
	fail_arc none
	fail_call read=ENOMEM
	fail_call none
	corrupt_stream 4K 4096
	corrupt_stream none
	mutant end-zero
	mutant none
END
refused state_size 0 Invalid
refused state_size 65G Invalid
refused state_size 64G memory
refused state_size 1M1 Invalid
refused state_size -1 Invalid
refused state_size '' Invalid
refused state_size 99999999999999999999G Invalid
refused initial_size 2M Invalid
refused vectors 0 Invalid
refused vectors 65 Invalid
refused tick_us 99 Invalid
refused migration p2p Invalid
refused migration stop-copy, Invalid
refused arc_latency RUNNING:RUNNING=1 Invalid
refused arc_latency RUNNING:STOP Invalid
refused arc_latency RUNNING:STOP=600001 Invalid
refused size_error 0 Invalid
refused size_error 1.0000 Invalid
refused size_error 1.+1 Invalid
refused load_at never Invalid
refused reinit never Invalid
refused reinit after=0 Invalid
refused upset error Invalid
refused upset error,late Invalid
refused fail_arc STOP:STOP_COPY=EWHAT Invalid
refused fail_call save=EIO Invalid
refused mutant no-such Invalid
remove_mdev $one

echo "---- no migration, no log"
make_sim $one generic migration=none state_size=1M
tool info $one
said 'migration        no'
set_sim $one migration=stop-copy dma_logging=0
tool info $one
said 'migration        STOP_COPY'
! grep 'features.*dma-logging' out || fail "it logs"
remove_mdev $one

echo "---- info, save, restore"
make_sim $one generic state_size=1M
make_sim $two generic state_size=1M
tool info $one
cat out
said 'driver           vfm_sim'
said 'type             vfm_sim-generic'
said 'PCI              5646:4d31, subsystem 5646:0001'
said 'migration        STOP_COPY, P2P, PRE_COPY'
tool save $one state
tool restore $two state
grep -q 'bytes_written [1-9]' "/sys/kernel/debug/vfm_sim/$two/counters" || fail "no counters"
set_sim $one fail_arc=STOP:STOP_COPY=EIO
if "$VFIO_MIGRATE" save $one broken >out 2>&1; then
	fail "an arc that fails was taken"
fi
said 'Input/output error'
remove_mdev $one
remove_mdev $two

echo "---- in use"
make_sim $one generic state_size=1M dma_rate=1000 dirty_rate=1M
"$VFIO_MIGRATE" vm --memory 32M --vfio $one --serial said &
vm=$!
wait_for grep -q "guest: up" said
refused seed 1 busy
if rmmod vfm_sim 2>out; then
	fail "the module was unloaded in use"
fi
cat out
remove_mdev $one &
remover=$!
kill $vm
wait $vm || fail "the VM ended with status $?"
! grep FAILED said || fail "the guest found something wrong"
wait $remover || fail "the device was not removed"
[ ! -e $mdev_devices/$one ] || fail "the device is still there"

echo "---- unload"
make_sim $one
rmmod vfm_sim || fail "the module cannot be unloaded"
[ ! -e $mdev_devices/$one ] || fail "a device stays without its driver"
modprobe vfm_sim
make_sim $one
