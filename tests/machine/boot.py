#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Boots the test machine, follows its report and writes down how each test ended.

boot.py TESTS OUT QEMU...: TESTS has the rows "NAME SECONDS PROGRAM" that the machine goes through.
QEMU is a command whose standard output is the report. In OUT, report.log has the report, qemu.log
what QEMU itself says, and testlog.json a line per test in the manner of meson's.

Every wait ends: the machine has START seconds until its first test, each test SLACK seconds more
than the machine grants it, SLACK for the end. Status 0: all passed or skipped; 1: some failed; 3:
the machine ended or stood still before its tests were through.
"""
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time

START = 180
SLACK = 60
MARK = 'machine: '


class Standstill(Exception):
    pass


class Report:
    """The lines of a pipe, each waited for no longer than `deadline`."""

    def __init__(self, pipe, log):
        self.pipe, self.log = pipe, log
        self.rest = b''
        self.deadline = time.monotonic() + START
        self.ready = selectors.DefaultSelector()
        self.ready.register(pipe, selectors.EVENT_READ)

    def allow(self, seconds):
        self.deadline = time.monotonic() + seconds

    def lines(self):
        while True:
            if not self.ready.select(max(0, self.deadline - time.monotonic())):
                raise Standstill('it stands still')
            data = os.read(self.pipe.fileno(), 65536)
            if not data:
                return
            self.log.write(data)
            self.log.flush()
            *lines, self.rest = (self.rest + data).split(b'\n')
            for line in lines:
                yield line.decode(errors='replace').rstrip('\r')


class Results:
    def __init__(self, tests, log):
        self.limits, self.log = tests, log
        self.left = list(tests)
        self.name = None
        self.failed = False

    def begin(self, name):
        self.name, self.output, self.began = name, [], time.monotonic()

    def end(self, status):
        took = time.monotonic() - self.began
        result = {0: 'OK', 77: 'SKIP'}.get(status, 'FAIL')
        how = ''
        if status == 137 and took >= self.limits[self.name]:
            how = f' (ended by its limit, {self.limits[self.name]} s)'
        elif status is None:
            how = ' (the machine ended)'
        elif result == 'FAIL':
            how = f' (status {status})'
        print(f'{self.name:<24} {result:<4} {took:6.1f} s{how}', flush=True)
        self.write(result)

    def write(self, result):
        if result != 'OK' and self.output:
            print('\n'.join('    ' + line for line in self.output), flush=True)
        self.failed = self.failed or result == 'FAIL'
        json.dump({'name': self.name, 'result': result, 'stdout': '\n'.join(self.output),
                   'stderr': ''}, self.log)
        self.log.write('\n')
        self.left.remove(self.name)
        self.name = None

    def fail_rest(self):
        """The machine has ended, maybe in the middle of a test."""
        if self.name:
            self.end(None)
        for name in list(self.left):
            self.begin(name)
            self.end(None)


def follow(report, results):
    """Whether the machine went through all its tests."""
    done = False
    for line in report.lines():
        word, _, rest = line.removeprefix(MARK).partition(' ')
        if not line.startswith(MARK):
            if results.name:
                results.output.append(line)
        elif word == 'ready':
            print(rest, flush=True)
        elif word == 'test':
            results.begin(rest)
            report.allow(results.limits[rest] + SLACK)
        elif word == 'end':
            results.end(int(rest.split()[-1]))
            report.allow(SLACK)
        elif word == 'done':
            done = True
    return done


def main(tests, out, command):
    # QEMU does not outlive this program, nor this who called it (PR_SET_PDEATHSIG).
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    with open(tests, encoding='utf-8') as rows:
        limits = {name: int(seconds) for name, seconds, _ in map(str.split, rows)}
    with open(f'{out}/report.log', 'wb') as report_log, open(f'{out}/qemu.log', 'wb') as qemu_log, \
         open(f'{out}/testlog.json', 'w', encoding='utf-8') as log:
        results = Results(limits, log)
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=qemu_log)
        try:
            done = follow(Report(qemu.stdout, report_log), results)
            why = 'it ended'
        except Standstill as standstill:
            done, why = not results.left, str(standstill)
        finally:
            qemu.kill()
            qemu.wait()
        if not done:
            print(f'the machine did not come to the end of its tests: {why}', flush=True)
            results.fail_rest()
            return 3
        return 1 if results.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
