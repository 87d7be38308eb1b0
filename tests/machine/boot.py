#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Boots the test machine, follows its report and writes down how each test ended.

boot.py TESTS OUT QEMU...: TESTS has the rows "NAME SECONDS PROGRAM" that the machine goes through.
QEMU is a command whose standard output is the report. In OUT, report.log has the report, qemu.log
what QEMU itself says, and testlog.json a line per test in the manner of meson's.

The report is what the tests print, and between it marks, lines "machine: WORD TOKEN ...". Before
each there is an empty line, since a test may end without a newline. TOKEN is the machine's own, told
in the first mark, before any test has run, so that what a test prints is no mark.

What the kernel has logged during a test comes after a mark of its own; a report of a mistake in there
makes the test fail, however it ended.

Every wait ends: the machine has START seconds until its first test, each test SLACK seconds more
than the machine grants it, SLACK for the end. A test that the machine did not end failed.

Status 0: all passed or skipped; 1: some failed; 3: the machine stood still, or ended before its
first test, and nothing else failed, which may be the emulator's fault: another try is due; 4: the
machine ended in the middle of its tests, or some had failed when it stood still.
"""
import collections
import ctypes
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None)
START = 300
SLACK = 60
MARK = 'machine: '
# Bytes. What is more is dropped: of a line nothing, it becomes several; of a test's output the
# beginning; of the log what each test prints late.
LINE_MAX = 1 << 16
OUTPUT_MAX = 1 << 18
LOG_MAX = 1 << 24
# How the kernel begins a report of something that must not be: of its checks of memory, locks, objects
# and arithmetic, and of its own assertions. A stall that a busy host causes is none.
COMPLAINT = re.compile(r'BUG: |WARNING: |UBSAN: |ODEBUG: |Oops|general protection fault'
                       r'|refcount_t: |list_(add|del) corruption|INFO: task .* blocked'
                       r'|INFO: trying to register|kmemleak: [1-9]|Modules linked in:')


class Standstill(Exception):
    pass


class Report:
    """The lines of a pipe, all that come until `deadline`."""

    def __init__(self, pipe, log):
        self.pipe, self.log = pipe, log
        self.rest = b''
        self.allow(START)
        self.ready = selectors.DefaultSelector()
        self.ready.register(pipe, selectors.EVENT_READ)

    def allow(self, seconds):
        self.deadline = time.monotonic() + seconds
        self.room = LOG_MAX

    def read(self):
        """Some bytes; none at the end."""
        left = self.deadline - time.monotonic()
        if left <= 0 or not self.ready.select(left):
            raise Standstill('it stands still')
        data = os.read(self.pipe.fileno(), LINE_MAX)
        self.log.write(data[:self.room])
        self.log.flush()
        self.room -= min(self.room, len(data))
        return data

    def lines(self):
        while data := self.read():
            *lines, self.rest = (self.rest + data).split(b'\n')
            if len(self.rest) > LINE_MAX:
                lines, self.rest = lines + [self.rest], b''
            for line in lines:
                yield line.decode(errors='replace').rstrip('\r')


class Results:
    def __init__(self, tests, log):
        self.limits, self.log = tests, log
        self.left = list(tests)
        self.name = None
        self.begun = self.failed = False

    def begin(self, name):
        if self.name:
            self.end(None)
        if name not in self.left:
            raise Standstill(f'it is lost, at the test "{name}"')
        self.name, self.begun, self.began = name, True, time.monotonic()
        self.output, self.size = collections.deque(), 0
        self.kernel, self.complaint = False, None

    def begin_kernel(self):
        """What comes now, until the test's end, is the kernel's log. None of it is kept up to the
        first complaint."""
        self.kernel = True

    def add(self, line):
        if not self.name:
            return
        if self.kernel and not self.complaint:
            if not COMPLAINT.search(line):
                return
            self.complaint = line
            self.output.append('---- the kernel:')
        self.output.append(line)
        self.size += len(line) + 1
        while self.size > OUTPUT_MAX:
            self.size -= len(self.output.popleft()) + 1

    def end_output(self):
        """Before a mark: without the empty line, or the newline, that came with it."""
        if self.name and self.output and not self.output[-1]:
            self.output.pop()

    def end(self, status):
        """Of the test that began last. Status None: the machine did not end it."""
        took = time.monotonic() - self.began
        result = {0: 'OK', 77: 'SKIP'}.get(status, 'FAIL')
        how = ''
        if self.complaint:
            result = 'FAIL'
            how = f' (status {status}; the kernel complained)'
        elif status == 137 and took >= self.limits[self.name]:
            how = f' (ended by its limit, {self.limits[self.name]} s)'
        elif status is None:
            how = ' (the machine did not end it)'
        elif result == 'FAIL':
            how = f' (status {status})'
        print(f'{self.name:<24} {result:<4} {took:6.1f} s{how}', flush=True)
        self.write(result)

    def write(self, result):
        if result != 'OK' and self.output:
            print('\n'.join('    ' + line for line in self.output), flush=True)
        self.failed = self.failed or result == 'FAIL'
        row = {'name': self.name, 'result': result, 'stdout': '\n'.join(self.output), 'stderr': ''}
        self.log.write(json.dumps(row) + '\n')
        self.left.remove(self.name)
        self.name = None

    def fail_rest(self):
        """The machine has ended, maybe in the middle of a test."""
        if self.name:
            self.end(None)
        for name in list(self.left):
            self.begin(name)
            self.end(None)


def obey(word, rest, report, results):
    """A mark, but the first."""
    results.end_output()
    if word == 'test':
        results.begin(rest)
        report.allow(results.limits[rest] + SLACK)
    elif word == 'kernel':
        results.begin_kernel()
    elif word == 'end':
        name, status = rest.split()
        if name != results.name:
            raise Standstill(f'it is lost, at the end of the test "{name}"')
        results.end(int(status))
        report.allow(SLACK)


def follow(report, results):
    """Whether the machine says that it went through its tests."""
    token = None
    done = False
    for line in report.lines():
        word, its_token, rest = (line.removeprefix(MARK).split(' ', 2) + ['', ''])[:3]
        if not token and line.startswith(MARK + 'ready '):
            token = its_token
            print(rest, flush=True)
        elif token and its_token == token and line.startswith(MARK):
            obey(word, rest, report, results)
            done = done or word == 'done'
        else:
            results.add(line)
    return done


def run(qemu, report_log, results):
    """The status of this program."""
    why = None
    still = False
    try:
        if not follow(Report(qemu.stdout, report_log), results):
            why = 'it ended'
    except Standstill as standstill:
        still = True
        why = str(standstill) if results.left else None
    again = not results.failed and (still or not results.begun)
    if why:
        print(f'the machine did not come to the end of its tests: {why}', flush=True)
    results.fail_rest()
    if why:
        return 3 if again else 4
    return 1 if results.failed else 0


def follow_parent(death_signal):
    """Whoever calls this gets the signal when its parent ends (PR_SET_PDEATHSIG)."""
    LIBC.prctl(1, death_signal)


def start(command, qemu_log):
    """QEMU, which does not outlive this program, however that ends."""
    parent = os.getpid()

    def in_child():
        follow_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=qemu_log, preexec_fn=in_child)


def main(tests, out, command):
    with open(tests, encoding='utf-8') as rows:
        limits = {name: int(seconds) for name, seconds, _ in map(str.split, rows)}
    with open(f'{out}/report.log', 'wb') as report_log, open(f'{out}/qemu.log', 'wb') as qemu_log, \
         open(f'{out}/testlog.json', 'w', encoding='utf-8', buffering=1) as log:
        qemu = start(command, qemu_log)
        try:
            return run(qemu, report_log, Results(limits, log))
        finally:
            qemu.kill()
            qemu.wait()


if __name__ == '__main__':
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    follow_parent(signal.SIGTERM)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
