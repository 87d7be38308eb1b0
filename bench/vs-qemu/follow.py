#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Boots the test machine for ./run bench vs-qemu, tells how far it is, prints the tables.

	follow.py [--json FILE] OUT QEMU...

OUT and QEMU are as for tests/machine/boot.py, which does the work: what comes here are lines
"about" and "result" of inside.py. Exit status 0: all went through.
"""
import argparse
import json
import pathlib
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'tests' / 'machine'))
import boot
import table


class Results(boot.Results):
    """Keeps apart what was measured from what else was printed."""

    def __init__(self, tests, log):
        super().__init__(tests, log)
        self.about, self.rows = {}, []

    def add(self, line):
        word, _, rest = line.partition(' ')
        if word == 'about':
            self.about = json.loads(rest)
        elif word == 'result':
            self.rows.append(json.loads(rest))
            print(table.progress(self.about, self.rows), flush=True)
        else:
            super().add(line)


def run(out, command):
    """(status of boot.run, the results)"""
    with open(f'{out}/tests', encoding='utf-8') as rows:
        limits = {name: int(seconds) for name, seconds, _ in map(str.split, rows)}
    with open(f'{out}/report.log', 'wb') as report_log, open(f'{out}/qemu.log', 'wb') as qemu_log, \
         open(f'{out}/testlog.json', 'w', encoding='utf-8', buffering=1) as log:
        results = Results(limits, log)
        qemu = boot.start(command, qemu_log)
        try:
            return boot.run(qemu, report_log, results), results
        finally:
            qemu.kill()
            qemu.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--json')
    parser.add_argument('out')
    parser.add_argument('command', nargs=argparse.REMAINDER)
    options = parser.parse_args()
    status, results = run(options.out, options.command)
    if status == 3 and not results.rows: # the emulator's fault, maybe
        print('one more try')
        status, results = run(options.out, options.command)
    if status or not results.rows:
        print(f'bench vs-qemu: it did not come to its end; what was said is in {options.out}')
        return 1
    print(table.text(results.about, results.rows))
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump(table.everything(results.about, results.rows), file, indent=2)
    return 0


if __name__ == '__main__':
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    boot.follow_parent(signal.SIGTERM)
    sys.exit(main())
