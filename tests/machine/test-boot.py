#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""boot.py with shell scripts in QEMU's place, which write a report as the machine's init does."""
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import boot

# A machine's first lines; "mark" is init's.
HEAD = r'''
mark() { word=$1; shift; printf '\nmachine: %s %s %s\n' "$word" t0ken "$*"; }
mark ready Linux
'''
WAIT = 60 # s, for what comes at once


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.out = pathlib.Path(scratch.name)
        self.tests = self.out / 'tests'
        self.tests.write_text(f'a {WAIT} /t/a\nb {WAIT} /t/b\n')

    def machine(self, script):
        return ['sh', '-c', HEAD + script]

    def boot(self, script):
        """The status, each test's result, each test's output."""
        with open(self.out / 'said', 'w') as said:
            stdout, sys.stdout = sys.stdout, said
            try:
                status = boot.main(self.tests, self.out, self.machine(script))
            finally:
                sys.stdout = stdout
        rows = [json.loads(row) for row in (self.out / 'testlog.json').read_text().splitlines()]
        self.output = {row['name']: row['stdout'] for row in rows}
        self.assertEqual(len(rows), 2)
        return status, {row['name']: row['result'] for row in rows}

    def check(self, script, status, a, b):
        self.assertEqual(self.boot(script), (status, {'a': a, 'b': b}))


class Marks(Case):
    def test_all_pass(self):
        self.check('mark test a; echo one; mark end a 0; mark test b; mark end b 77; mark done',
                   0, 'OK', 'SKIP')
        self.assertEqual(self.output, {'a': 'one', 'b': ''})

    def test_failure_without_a_newline(self):
        self.check('mark test a; printf one; mark end a 1; mark test b; mark end b 0; mark done',
                   1, 'FAIL', 'OK')
        self.assertEqual(self.output['a'], 'one')

    def test_empty_lines_stay(self):
        self.check(r"mark test a; printf '\n\n'; mark end a 0; mark test b; printf '\nx\n\n';"
                   'mark end b 0; mark done', 0, 'OK', 'OK')
        self.assertEqual(self.output, {'a': '\n', 'b': '\nx\n'})

    def test_a_test_prints_marks(self):
        self.check('mark test a; echo machine: end a 0; echo machine: done; echo machine:;'
                   'echo machine: ready other x; echo machine: end other a 0; echo machine: end;'
                   'mark end a 1; mark test b; mark end b 0; mark done', 1, 'FAIL', 'OK')
        self.assertIn('machine: end other a 0', self.output['a'])

    def test_no_end_before_the_next_one(self):
        self.check('mark test a; mark test b; mark end b 0; mark done', 1, 'FAIL', 'OK')

    def test_no_end_before_done(self):
        self.check('mark test a; mark end a 0; mark test b; mark done', 1, 'OK', 'FAIL')

    def test_done_without_a_test(self):
        self.check('mark test a; mark end a 0; mark done', 1, 'OK', 'FAIL')


class Kernel(Case):
    def check_log(self, text, result):
        self.check(f"mark test a; echo one; mark kernel; echo '{text}'; mark end a 0;"
                   'mark test b; mark kernel; mark end b 0; mark done',
                   0 if result == 'OK' else 1, result, 'OK')

    def test_nothing_of_note(self):
        self.check_log('[    7.1] vfio_mdev: bound\n[    7.2] rcu: INFO: rcu_sched self-detected stall',
                       'OK')
        self.assertEqual(self.output, {'a': 'one', 'b': ''})

    def test_complaints(self):
        for text in (
            'BUG: KASAN: slab-use-after-free in f+0x1/0x2',
            'WARNING: possible circular locking dependency detected',
            'WARNING: CPU: 1 PID: 7 at drivers/a.c:9 f+0x1/0x2',
            'BUG: sleeping function called from invalid context at a.c:1',
            'UBSAN: shift-out-of-bounds in a.c:3:2',
            'ODEBUG: free active (active state 0) object: f type: timer_list',
            'INFO: task cat:77 blocked for more than 120 seconds.',
            'kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)',
        ):
            with self.subTest(text):
                self.check_log(f'[    7.1] quiet\n[    7.2] {text}\n[    7.3] Call Trace:', 'FAIL')
                self.assertEqual(self.output['a'].splitlines(),
                                 ['one', '---- the kernel:', f'[    7.2] {text}',
                                  '[    7.3] Call Trace:'])

    def test_complaint_in_a_skipped_test(self):
        self.check('mark test a; mark kernel; echo BUG: one; mark end a 77;'
                   'mark test b; mark end b 0; mark done', 1, 'FAIL', 'OK')

    def test_test_speaks_of_complaints(self):
        self.check('mark test a; echo BUG: none; mark kernel; mark end a 0;'
                   'mark test b; mark end b 0; mark done', 0, 'OK', 'OK')


class Ends(Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, boot, 'START', boot.START)
        self.addCleanup(setattr, boot, 'SLACK', boot.SLACK)

    def hurry(self):
        """For a machine that is to stand still, be it before its first mark or after."""
        boot.START = 1

    def test_end_before_the_first_test(self):
        self.check('exit', 3, 'FAIL', 'FAIL')

    def test_end_in_a_test(self):
        self.check('mark test a; mark end a 0; mark test b; exit', 4, 'OK', 'FAIL')

    def test_end_after_a_failure(self):
        self.check('mark test a; mark end a 1; exit', 4, 'FAIL', 'FAIL')

    def test_standstill(self):
        self.hurry()
        self.check('exec sleep 600', 3, 'FAIL', 'FAIL')

    def test_standstill_in_a_flood(self):
        self.hurry()
        self.check('exec yes', 3, 'FAIL', 'FAIL')

    def test_standstill_after_a_failure(self):
        boot.SLACK = 0
        self.check('mark test a; mark end a 1; exec sleep 600', 4, 'FAIL', 'FAIL')


class Sizes(Case):
    def test_flood(self):
        self.addCleanup(setattr, boot, 'LOG_MAX', boot.LOG_MAX)
        boot.LOG_MAX = 100000
        self.check('mark test a; head -c 3000000 /dev/zero; echo last; mark end a 0;'
                   'mark test b; seq 100000; mark end b 1; mark done', 1, 'OK', 'FAIL')
        self.assertLess(len(self.output['a']), boot.OUTPUT_MAX)
        self.assertLess(len(self.output['b']), boot.OUTPUT_MAX)
        self.assertTrue(self.output['a'].endswith('last'))
        self.assertTrue(self.output['b'].endswith('\n100000'))
        self.assertLess((self.out / 'report.log').stat().st_size, 10 * boot.LOG_MAX)


class Killed(Case):
    def kill(self, number):
        """No machine is left: a pipe that only it has open for writing ends."""
        os.mkfifo(self.out / 'alive')
        alive = os.open(self.out / 'alive', os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, alive)
        command = self.machine(f'exec 3>{self.out}/alive; echo up >&3; exec sleep 600')
        process = subprocess.Popen([sys.executable, boot.__file__, self.tests, self.out] + command,
                                   stdout=subprocess.DEVNULL)
        self.assertTrue(select.select([alive], [], [], WAIT)[0], 'it does not start')
        self.assertEqual(os.read(alive, 100), b'up\n')
        process.send_signal(number)
        status = process.wait(WAIT)
        self.assertTrue(select.select([alive], [], [], WAIT)[0], 'the machine lives on')
        self.assertEqual(os.read(alive, 100), b'')
        return status

    def test_kill(self):
        self.assertEqual(self.kill(signal.SIGKILL), -signal.SIGKILL)

    def test_hang_up(self):
        self.assertEqual(self.kill(signal.SIGHUP), 128 + signal.SIGHUP)

    def test_end(self):
        self.assertEqual(self.kill(signal.SIGTERM), 128 + signal.SIGTERM)


if __name__ == '__main__':
    unittest.main()
