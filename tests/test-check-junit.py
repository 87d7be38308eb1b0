#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a CI system does with the checker: check a simulated device beside another one, and read the
JUnit report with a parser of XML. The first argument is the program vfio-migrate."""
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

WAIT_S = 60
program = sys.argv.pop(1)


class Junit(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.sims = []

    def tearDown(self):
        for sim in self.sims:
            sim.terminate()
            sim.wait(WAIT_S)
            sim.stdout.close()
        self.dir.cleanup()

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def start_sim(self, name, *options):
        sim = subprocess.Popen(
            [program, 'sim', '--socket=' + self.path(name), '--state-size=40K', *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.sims.append(sim)
        for line in sim.stdout:
            if 'listening' in line:
                return
        self.fail('the simulator ended')

    def check(self, *options):
        """The exit status, and the suite."""
        report = self.path('report.xml')
        status = subprocess.run(
            [program, 'check', '--yes', '--quiet', '--seed=1', '--junit=' + report, *options,
             self.path('one'), self.path('two')], timeout=10 * WAIT_S).returncode
        suite = ElementTree.parse(report).getroot().find('testsuite')
        self.assertEqual(suite.get('name'), self.path('one'))
        return status, suite

    def count(self, suite, element):
        cases = suite.findall('testcase')
        self.assertEqual(int(suite.get('tests')), len(cases))
        return [case.get('name') for case in cases if case.find(element) is not None]

    def rules(self):
        """Of every rule there is: the severity by its name."""
        listed = subprocess.run([program, 'check', '--list'], stdout=subprocess.PIPE, text=True,
                                check=True, timeout=WAIT_S).stdout
        return {words[3]: words[0] for words in map(str.split, listed.splitlines())}

    def test_a_device_that_keeps_all(self):
        self.start_sim('one', '--seed=1')
        self.start_sim('two', '--seed=2')
        status, suite = self.check()
        self.assertEqual(status, 0)
        self.assertEqual(self.count(suite, 'failure'), [])
        self.assertEqual(self.count(suite, 'error'), [])
        self.assertEqual(suite.get('failures'), '0')
        self.assertEqual(suite.get('errors'), '0')
        self.assertEqual({case.get('name') for case in suite.findall('testcase')},
                         set(self.rules()))
        self.assertNotIn('peer-parallel', self.count(suite, 'skipped'))

    def test_a_device_that_breaks_a_must(self):
        self.start_sim('one', '--seed=1', '--mutant=state-range')
        self.start_sim('two', '--seed=2')
        status, suite = self.check('--only=states')
        self.assertEqual(status, 1)
        self.assertEqual(self.count(suite, 'failure'), ['state-range'])
        self.assertEqual(suite.get('failures'), '1')
        failure = suite.find("testcase[@name='state-range']/failure")
        self.assertIn('->', failure.get('message'))


if __name__ == '__main__':
    unittest.main(verbosity=2)
