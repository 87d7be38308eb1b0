#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# In the test machine: eight devices for each side, then inside.py.
# shellcheck source=../../tests/machine/lib.sh
. /t/lib.sh

state=16M      # of each device
dirty=1M       # of it changed a second
dma=1000       # records written to the guest a second
latency=20     # ms of each transition
arcs="RUNNING:PRE_COPY PRE_COPY:PRE_COPY_P2P PRE_COPY_P2P:STOP_COPY STOP_COPY:STOP
	RUNNING:RUNNING_P2P RUNNING_P2P:STOP STOP:RESUMING RESUMING:STOP STOP:RUNNING_P2P
	RUNNING_P2P:RUNNING"

# Each option fills the device anew, so it is small for most of them.
options="state_size=4K dirty_rate=$dirty dma_rate=$dma"
for arc in $arcs; do
	options="$options arc_latency=$arc=$latency"
done
options="$options state_size=$state"
for side in 1 2; do
	for i in 1 2 3 4 5 6 7 8; do
		# shellcheck disable=SC2086 # words
		make_sim ${side}0000000-0000-0000-0000-00000000000$i generic $options
	done
done
read -r arguments </t/arguments
# shellcheck disable=SC2086 # words
exec python3 /t/inside.py $arguments --conditions "devices: $state of state, $dirty/s of it \
changing, $latency ms a transition, $dma records of DMA a second"
