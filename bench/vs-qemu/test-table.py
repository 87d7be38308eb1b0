#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The tables of ./run bench vs-qemu, from made-up migrations."""
import sys
import unittest

sys.dont_write_bytecode = True
import table

ABOUT = {'kernel': '7.2', 'qemu': 'QEMU 10', 'ours': 'vfio-migrate 1', 'runs': 3, 'migrations': 12,
         'conditions': 'guest: small'}


def row(vmm, devices, downtime):
    return {'vmm': vmm, 'devices': devices, 'downtime_ms': downtime, 'to_stop_ms': 1,
            'to_run_ms': 2, 'told_ms': downtime, 'total_ms': 500, 'bytes': 3 << 20, 'device_bytes': 1 << 20}


def measured():
    """QEMU takes 100 ms a device, ours 100 ms and 1 for each."""
    return [row(vmm, n, value + noise) for n in (1, 2, 4, 8) for noise in (0, -1, 30)
            for vmm, value in (('qemu', 100 * n), ('ours', 99 + n))]


def cells(text, first):
    line = next(line for line in text.splitlines() if line.startswith(f'| {first} '))
    return [cell.strip() for cell in line.strip('|').split('|')]


class Table(unittest.TestCase):
    def test_growth_is_the_slope(self):
        rows = measured()
        self.assertAlmostEqual(table.growth(rows, 'qemu'), 100)
        self.assertAlmostEqual(table.growth(rows, 'ours'), 1)
        self.assertIsNone(table.growth([row('qemu', 1, 5)], 'qemu'))

    def test_median_spread_and_ratio(self):
        text = table.text(ABOUT, measured())
        self.assertEqual(cells(text, '8'), ['8', '800 (799 to 830)', '107 (106 to 137)', '7.48'])
        self.assertEqual(cells(text, 'growth')[1:], ['100', '1.00', '100'])

    def test_no_ratio_to_nothing(self):
        rows = [row('qemu', n, 10) for n in (1, 2)] + [row('ours', n, 0) for n in (1, 2)]
        text = table.text(ABOUT, rows)
        self.assertEqual(cells(text, '1')[-1], '')
        self.assertEqual(cells(text, 'growth')[-1], '')

    def test_one_kind_alone(self):
        text = table.text(ABOUT, [row('ours', 1, 10)])
        self.assertEqual(cells(text, '1'), ['1', '10.0'])
        self.assertNotIn('growth', text)

    def test_lines_of_a_table_are_as_long(self):
        for part in table.text(ABOUT, measured()).split('\n\n'):
            if part.lstrip().startswith('|'):
                self.assertEqual(len({len(line) for line in part.strip().splitlines()}), 1)

    def test_everything_has_each_migration(self):
        rows = measured()
        all_ = table.everything(ABOUT, rows)
        self.assertEqual(len(all_['migrations']), len(rows))
        self.assertEqual(len(all_['medians']), 8)


if __name__ == '__main__':
    unittest.main()
