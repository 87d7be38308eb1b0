#!/bin/sh
. /t/lib.sh
one=30000000-0000-0000-0000-000000000001
two=30000000-0000-0000-0000-000000000002
grep -o -w 'fsrm\|erms' /proc/cpuinfo | sort | uniq -c
make_sim $one generic state_size=1M dma_rate=1000 dirty_rate=1M
make_sim $two generic state_size=1M dma_rate=1000
"$VFIO_MIGRATE" vm --memory 32M --vfio $one --vfio $two --serial said >vmout 2>&1 &
vm=$!
sleep 6
kill $vm
wait $vm || echo "the VM ended with status $?"
cat vmout
cat said
cat /sys/kernel/debug/vfm_sim/$one/*
lsmod | head -3
rmmod vfm_sim && echo REMOVED
"$VFIO_MIGRATE" sim --socket s --state-size 1M &
wait_for test -S s
"$VFIO_MIGRATE" save unix:s st; "$VFIO_MIGRATE" restore $one st; 
"$VFIO_MIGRATE" save $one st; "$VFIO_MIGRATE" restore unix:s st; 
