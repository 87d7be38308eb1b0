#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The tools for devices, on devices of a real kernel.
# shellcheck source=lib.sh
. /t/lib.sh

one=10000000-0000-0000-0000-000000000001
two=10000000-0000-0000-0000-000000000002
twin=10000000-0000-0000-0000-000000000003

# expect STATUS COMMAND...: runs it, for 60 s at most; its output is in the file out
expect()
{
	local wanted=$1 status=0

	shift
	timeout 60 "$VFIO_MIGRATE" "$@" >out 2>&1 || status=$?
	[ "$status" = "$wanted" ] && return
	cat out
	fail "vfio-migrate $*: exit status $status, $wanted was due"
}

said() # TEXT
{
	grep -q -F -e "$1" out && return
	cat out
	fail "it was not said: $1"
}

make_mtty $one
make_mtty $two 2
make_mtty $twin

echo "---- info"
expect 0 info $one /sys/bus/mdev/devices/$two
cat out
said 'backend          vfio'
said 'driver           mtty'
said 'type             mtty-1'
said 'type             mtty-2'
said 'migration        STOP_COPY, P2P, PRE_COPY'
said 'state            RUNNING'
expect 1 info 10000000-0000-0000-0000-00000000000f
said 'there is no device'
for pci in /sys/bus/pci/devices/*; do
	pci=$(basename "$pci")
	break
done
expect 1 info "$pci"
cat out
said 'cannot be opened'

if [ "$MACHINE_KERNEL" != debian ]; then
	expect 0 info "$(cdev_of $one)"
	said 'type             mtty-1'
	exec 9<>"$(cdev_of $one)"
	expect 0 info fd:9
	cat out
	said 'type             mtty-1'
	said 'state            RUNNING'
	expect 1 info $one # one user at a time
	exec 9>&-
	wait_for "$VFIO_MIGRATE" info $one # busybox' timeout leaves a watcher behind, with our fd
fi

echo "---- save, restore, compat"
expect 0 save $one one.state
expect 0 restore $twin one.state
expect 0 restore $one one.state
"$VFIO_MIGRATE" save $one - 2>out | "$VFIO_MIGRATE" restore $twin - || fail "through a pipe"
expect 0 compat $one $twin
expect 0 compat one.state $twin
expect 1 compat $one $two
cat out
said 'type mtty-1 at A, mtty-2 at B'
said 'BAR 1 has 0 bytes at A, 8 at B'
expect 1 compat one.state $two
expect 1 restore $two one.state
cat out
said "the file is another device's: type mtty-1 in the file, mtty-2 here"
said 'the device is as it was'
head -c 340 one.state >cut.state
expect 1 restore $twin cut.state
said 'it was cut or altered'
expect 0 info $one $two $twin
[ "$(grep -c 'state            RUNNING' out)" = 3 ] || fail "a device does not run: $(cat out)"

echo "---- send, recv"
four=10000000-0000-0000-0000-000000000004
make_mtty $four 2

# receive DEVICE...: waits in the background, at unix:move
receive()
{
	"$VFIO_MIGRATE" recv "$@" unix:move >received 2>&1 &
	receiver=$!
	wait_for grep -q 'listening on' received
}

receive $twin $four
expect 0 send $one $two unix:move
cat out
said 'the devices run on the destination'
wait $receiver || fail "recv: $(cat received)"
expect 0 info $one $two
[ "$(grep -c 'state            STOP' out)" = 2 ] || fail "it runs on both sides: $(cat out)"
expect 0 info $twin $four
[ "$(grep -c 'state            RUNNING' out)" = 2 ] || fail "it runs nowhere: $(cat out)"

# The driver refuses the state of a card with another number of ports: all is as it was.
receive $one
expect 1 send -q $four unix:move
cat out
said 'device dev0: '
status=0
wait $receiver || status=$?
[ "$status" = 1 ] || fail "recv: exit status $status: $(cat received)"
expect 0 info $one $four
[ "$(grep -c 'state            RUNNING' out)" = 2 ] || fail "a device does not run: $(cat out)"
receive $one
expect 0 send -q $twin unix:move
wait $receiver || fail "recv: $(cat received)"

echo "---- blockers"
expect 0 blockers $one $two
[ ! -s out ] || fail "there are blockers: $(cat out)"
expect 1 blockers $one "$pci"
said "device $pci: "
