#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs in the test machine: QEMU and the reference VMM, in turns, each migrate the same guest.

	inside.py --runs N --devices LIST --vmms LIST

Each migration has two fresh processes, and uses the first devices of either side, which inside.sh
has made. Printed are "about" and a JSON object with what all have in common, and "result" and one
for each migration. Any that fails ends the program with status 1.

What is measured is the time from "the last vCPU has stopped" on the source to "the vCPUs run" on
the destination, the devices' transitions between the two included. QEMU's events STOP and RESUME do
not tell that: the first comes after the source's transitions, the second before the destination's.
So its trace points are taken: vm_state_notify, which comes right after the vCPUs have stopped, and
the checkpoint behind vm_start(). The reference VMM's events are where the definition wants them.
All stamps are of one clock, the machine's.
"""
import argparse
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from datetime import datetime

PATIENCE = 120       # seconds of one step
WORK = 0.3           # seconds that the guest works before it moves
MEMORY = 64 << 20
WORKING_SET = 16 << 20
DIRTY_RATE = 2 << 20 # bytes per second
LIMIT = 300          # ms of downtime, QEMU's default
DEVICES = 8          # of each side
RING_ENTRIES = 512   # of a device, in the guest

QEMU = ['qemu-system-x86_64', '-L', '/qemu', '-machine', 'q35,accel=kvm', '-cpu', 'host',
        '-m', str(MEMORY >> 20), '-nodefaults', '-no-user-config', '-display', 'none',
        '-device', 'pvpanic', '-kernel', '/t/boot.elf', '-append', f'{WORKING_SET} {DIRTY_RATE}',
        '-object', 'iommufd,id=iommufd0', '-msg', 'timestamp=on',
        '-trace', 'vm_state_notify', '-trace', 'vmstate_downtime_checkpoint',
        '-trace', 'vfio_vmstate_change*']
BAD_EVENTS = 'GUEST_PANICKED', 'SHUTDOWN'
# "PID@SECONDS:EVENT TEXT", and since QEMU 11 "TIME EVENT TEXT"
TRACE = re.compile(r'^(?:\d+@(\d+\.\d+):|(\d+-\S+Z) )(\w+) (.*)$')


class Failed(Exception):
    pass


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f'in vain waited for: {what}')
        time.sleep(0.02)


def read(path):
    with open(path, errors='replace') as f:
        return f.read()


class Vmm:
    """A process with a QMP socket. Subclasses say how it is started and what it tells."""

    def __init__(self, side, devices):
        self.side, self.devices = side, devices
        self.events = []
        self.rest = b''
        for name in 'qmp', 'serial', 'log', 'trace':
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))

    def path(self, what):
        return f'{self.side}.{what}'

    def start(self):
        with open(self.path('log'), 'wb') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        wait_for(f'{self.side}: its QMP socket', self.connect)
        self.socket.settimeout(PATIENCE)
        self.receive()
        self.ask('qmp_capabilities')

    def connect(self):
        if self.process.poll() is not None:
            raise Failed(f'{self.side}: it ended with status {self.process.returncode}')
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(self.path('qmp'))
        except OSError:
            self.socket.close()
            return False
        return True

    def receive(self):
        while b'\n' not in self.rest:
            try:
                data = self.socket.recv(65536)
            except OSError as error:
                raise Failed(f'{self.side}: no answer: {error}') from error
            if not data:
                raise Failed(f'{self.side}: it closed its QMP socket')
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        message = json.loads(line)
        if 'event' in message:
            self.events.append(message)
        return message

    def ask(self, command, **arguments):
        request = {'execute': command, 'arguments': arguments}
        self.socket.sendall((json.dumps(request) + '\n').encode())
        while 'event' in (answer := self.receive()):
            pass
        if 'error' in answer:
            raise Failed(f'{self.side}: {command}: {answer["error"]["desc"]}')
        return answer['return']

    def wait_event(self, name, **data):
        """The event, which may have come before; one that tells of a failure ends the wait."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                found = event.get('data', {})
                if event['event'] == name and data.items() <= found.items():
                    return event
                if event['event'] in BAD_EVENTS or found.get('status') == 'failed':
                    raise Failed(f'{self.side}: {event}')
            seen = len(self.events)
            self.receive()

    def stamp(self, name, **data):
        stamp = self.wait_event(name, **data)['timestamp']
        return stamp['seconds'] * 1000 + stamp['microseconds'] / 1000

    def end(self):
        """However it stands."""
        self.process.kill()
        self.process.wait()
        if hasattr(self, 'socket'):
            self.socket.close()


class Qemu(Vmm):
    capabilities = ['events', 'return-path', 'switchover-ack']
    device_options = ''

    def command(self):
        command = QEMU + ['-qmp', f'unix:{self.path("qmp")},server=on,wait=off',
                          '-serial', f'file:{self.path("serial")}', '-D', self.path('trace')]
        for i, uuid in enumerate(self.devices):
            command += ['-device', f'vfio-pci,sysfsdev=/sys/bus/mdev/devices/{uuid},id=dev{i},'
                        f'addr={4 + i:#x},iommufd=iommufd0{self.device_options}']
        return command + (['-incoming', 'defer'] if self.side == 'destination' else [])

    def prepare(self):
        self.ask('migrate-set-capabilities',
                 capabilities=[{'capability': c, 'state': True} for c in self.capabilities])
        self.ask('migrate-set-parameters', **{'downtime-limit': LIMIT, 'max-bandwidth': 0})

    def traces(self):
        """(ms, event, text) in the order in which they happened."""
        def ms(match):
            old, new = match[1], match[2]
            return 1000 * (float(old) if old else datetime.fromisoformat(new).timestamp())
        matches = map(TRACE.match, read(self.path('trace')).splitlines())
        return [(ms(m), m[3], m[4]) for m in matches if m]

    def last_trace(self, event, part):
        """When it came last; None: not yet."""
        found = [ms for ms, its_event, text in self.traces() if its_event == event and part in text]
        return found[-1] if found else None

    def stopped(self):
        return self.last_trace('vm_state_notify', 'running 0')

    def running(self):
        self.wait_event('RESUME')
        started = 'vmstate_downtime_checkpoint', 'dst-precopy-bh-vm-started'
        wait_for('the destination: its vCPUs run', lambda: self.last_trace(*started))
        return self.last_trace(*started)

    def transitions(self, destination, stopped, running):
        """Between the traces before the first and after the last device."""
        return (self.last_trace('vfio_vmstate_change', ' running 0 ') - stopped,
                running - destination.last_trace('vm_state_notify', 'running 1'))

    def numbers(self):
        q = self.ask('query-migrate')
        return {'told_ms': q['downtime'], 'total_ms': q['total-time'],
                'bytes': q['ram']['transferred'], 'device_bytes': q['vfio']['transferred']}


class QemuMultifd(Qemu):
    """Device state over channels of its own, loaded by a thread for each device."""
    capabilities = Qemu.capabilities + ['multifd']
    device_options = ',x-migration-multifd-transfer=on'

    def prepare(self):
        super().prepare()
        self.ask('migrate-set-parameters', **{'multifd-channels': 2 + len(self.devices)})


class Ours(Vmm):
    def command(self):
        command = ['vfio-migrate', 'vm', '--accel=kvm', f'--memory={MEMORY}',
                   f'--working-set={WORKING_SET}', f'--dirty-rate={DIRTY_RATE}', '--quiet',
                   f'--serial={self.path("serial")}', f'--control={self.path("qmp")}']
        command += [f'--vfio={uuid}' for uuid in self.devices]
        return command + (['--incoming=defer'] if self.side == 'destination' else [])

    def prepare(self):
        self.ask('migrate-set-parameters', **{'downtime-limit': LIMIT})

    def stopped(self):
        return self.stamp('STOP')

    def running(self):
        return self.stamp('RESUME')

    def numbers(self):
        report = self.ask('x-vfm-report')
        memory = report['memory']['sent_bytes']
        device = sum(d['precopy_bytes'] + d['stopcopy_bytes'] for d in report['devices'])
        return {'told_ms': report['downtime_ms'], 'total_ms': report['total_ms'],
                'bytes': memory + device, 'device_bytes': device}

    def transitions(self, destination, stopped, running):
        """From the report, which has each transition of both sides: each waits for all devices."""
        arcs = [a for d in self.ask('x-vfm-report')['devices'] for a in d['arcs']]
        def longest(side, first, second):
            return max((a['ms'] for a in arcs if (a['side'], a['from'], a['to']) ==
                        (side, first, second)), default=0)
        return (longest('source', 'PRE_COPY', 'PRE_COPY_P2P') +
                longest('source', 'PRE_COPY_P2P', 'STOP_COPY'),
                longest('destination', 'RESUMING', 'STOP') +
                longest('destination', 'STOP', 'RUNNING_P2P') +
                longest('destination', 'RUNNING_P2P', 'RUNNING'))


KINDS = {'ours': Ours, 'qemu': Qemu, 'qemu-multifd': QemuMultifd}


def migrate(source, destination):
    socket_path = f'unix:{os.getcwd()}/move'
    if os.path.exists('move'):
        os.unlink('move')
    for vmm in destination, source:
        vmm.start()
        vmm.prepare()
    wait_for('the guest', lambda: 'guest: up' in read(source.path('serial')))
    time.sleep(WORK)
    destination.ask('migrate-incoming', uri=socket_path)
    source.ask('migrate', uri=socket_path)
    running = destination.running()
    source.wait_event('MIGRATION', status='completed')
    stopped = source.stopped()
    check_guest(destination)
    to_stop, to_run = source.transitions(destination, stopped, running)
    return {'downtime_ms': running - stopped, 'to_stop_ms': to_stop, 'to_run_ms': to_run,
            **source.numbers()}


def dma_writes(uuid):
    return int(re.search(r'^dma_writes (\d+)$', read(f'/sys/kernel/debug/vfm_sim/{uuid}/counters'),
                         re.M)[1])


def check_guest(vmm):
    """It checks each record of its devices before it gives the place back; the ring is gone round
    twice only if it goes on with that."""
    begun = [dma_writes(uuid) for uuid in vmm.devices]
    wait_for('the guest to take records of its devices', lambda: all(
        dma_writes(uuid) > was + 2 * RING_ENTRIES for uuid, was in zip(vmm.devices, begun)))
    if 'FAILED' in read(vmm.path('serial')):
        raise Failed(f'{vmm.side}: {read(vmm.path("serial"))}')


def show_logs(vmms):
    for vmm in vmms:
        for what in 'log', 'serial', 'trace':
            if os.path.exists(vmm.path(what)):
                print(f'---- {vmm.path(what)}', read(vmm.path(what))[-4000:], sep='\n')


def run(kind, number, uuids):
    vmms = [KINDS[kind](side, ids[:number]) for side, ids in zip(('source', 'destination'), uuids)]
    began = time.monotonic()
    try:
        result = migrate(*vmms)
    except Failed:
        show_logs(vmms)
        raise
    finally:
        for vmm in vmms:
            if hasattr(vmm, 'process'):
                vmm.end()
    result = {'vmm': kind, 'devices': number, 'took_s': time.monotonic() - began, **result}
    print('result', json.dumps(result), flush=True)


def version(*command):
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return said.splitlines()[0]


def say_about(options, counts, kinds):
    about = {'kernel': os.uname().release, 'qemu': version('qemu-system-x86_64', '--version'),
             'ours': version('vfio-migrate', '--version'), 'runs': options.runs,
             'migrations': options.runs * len(counts) * len(kinds),
             'conditions': f'guest: {MEMORY >> 20} MiB, {WORKING_SET >> 20} MiB of it rewritten at '
                           f'{DIRTY_RATE >> 20} MiB/s; {options.conditions}; downtime limit '
                           f'{LIMIT} ms, bandwidth without limit'}
    print('about', json.dumps(about), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--runs', type=int, default=1)
    parser.add_argument('--devices', default='1,2')
    parser.add_argument('--vmms', default='ours,qemu')
    parser.add_argument('--conditions', default='devices: unknown')
    options = parser.parse_args()
    counts = [int(n) for n in options.devices.split(',')]
    kinds = options.vmms.split(',')
    uuids = [[f'{side}0000000-0000-0000-0000-00000000000{i}' for i in range(1, DEVICES + 1)]
             for side in (1, 2)]
    say_about(options, counts, kinds)
    for i in range(options.runs):
        for number in counts:
            for kind in kinds[i % len(kinds):] + kinds[:i % len(kinds)]:
                run(kind, number, uuids)


if __name__ == '__main__':
    try:
        main()
    except Failed as failed:
        print(f'failed: {failed}')
        sys.exit(1)
