# SPDX-License-Identifier: BSD-3-Clause
"""What was measured, as tables: of ./run bench vs-qemu.

A row is one migration: {"vmm", "devices", "downtime_ms", "to_stop_ms", "to_run_ms", "told_ms",
"total_ms", "bytes", "device_bytes"}. "about" is what holds for all: {"kernel", "qemu", "ours",
"runs", "migrations", "conditions"}.
"""
import statistics

NAMES = {'qemu': 'QEMU', 'qemu-multifd': 'QEMU, multifd', 'ours': 'vfio-migrate'}
MIB = 1 << 20


def kinds(rows):
    return [kind for kind in NAMES if any(row['vmm'] == kind for row in rows)]


def counts(rows):
    return sorted({row['devices'] for row in rows})


def values(rows, kind, devices, key):
    return [row[key] for row in rows if row['vmm'] == kind and row['devices'] == devices]


def median(rows, kind, devices, key):
    found = values(rows, kind, devices, key)
    return statistics.median(found) if found else None


def growth(rows, kind, key='downtime_ms'):
    """Per added device: the slope of the line through the medians, by least squares."""
    points = [(n, median(rows, kind, n, key)) for n in counts(rows)]
    points = [(x, y) for x, y in points if y is not None]
    if len(points) < 2:
        return None
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) /
            sum((x - mean_x) ** 2 for x, _ in points))


def short(value):
    """Three digits, or what is before the point."""
    if value is None:
        return ''
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f'{value:.{digits}f}'


def spread(found, scale=1):
    if not found:
        return ''
    middle = short(statistics.median(found) / scale)
    if len(found) == 1:
        return middle
    return f'{middle} ({short(min(found) / scale)} to {short(max(found) / scale)})'


def ratio(rows, kind, devices, key):
    ours, theirs = median(rows, 'ours', devices, key), median(rows, kind, devices, key)
    return theirs / ours if ours and theirs is not None else None


def layout(head, lines):
    """A table as Markdown has it, which can be read as it is."""
    cells = [head, *lines]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(head))]
    out = ['| ' + ' | '.join(c.ljust(w) for c, w in zip(line, widths)) + ' |' for line in cells]
    out.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(out)


def part(rows, title, key, scale=1, ratios=True):
    """One figure: a line for each number of devices, a column for each VMM, and ratios to ours."""
    others = [kind for kind in kinds(rows) if kind != 'ours'] if ratios else []
    head = [title, *(NAMES[kind] for kind in kinds(rows)),
            *(f'{NAMES[kind]} / vfio-migrate' for kind in others)]
    lines = [[str(n), *(spread(values(rows, kind, n, key), scale) for kind in kinds(rows)),
              *(short(ratio(rows, kind, n, key)) for kind in others)] for n in counts(rows)]
    return head, lines


def downtimes(rows):
    head, lines = part(rows, 'devices: downtime, ms', 'downtime_ms')
    slopes = {kind: growth(rows, kind) for kind in kinds(rows)}
    if all(slope is not None for slope in slopes.values()):
        ours = slopes.get('ours')
        ratios = [short(slope / ours) if ours and ours > 0 else ''
                  for kind, slope in slopes.items() if kind != 'ours']
        lines.append(['growth per added device, ms', *map(short, slopes.values()), *ratios])
    return layout(head, lines)


def text(about, rows):
    parts = [
        f"{about['qemu']} and {about['ours']} on Linux {about['kernel']}, in turns; each figure is "
        f"the median of {about['runs']} (least to most)",
        about['conditions'],
        downtimes(rows),
        layout(*part(rows, 'of it transitions to stop, ms', 'to_stop_ms', ratios=False)),
        layout(*part(rows, 'of it transitions to run, ms', 'to_run_ms', ratios=False)),
        layout(*part(rows, 'bytes moved, MiB', 'bytes', MIB)),
        layout(*part(rows, 'of it of devices, MiB', 'device_bytes', MIB)),
        layout(*part(rows, 'whole migration, ms', 'total_ms')),
        layout(*part(rows, "downtime as the VMM tells it, ms", 'told_ms', ratios=False)),
        'Times are of an emulated machine, 1 ns an instruction: compare them with each other only.',
    ]
    return '\n' + '\n\n'.join(parts)


def progress(about, rows):
    row = rows[-1]
    devices = f"{row['devices']} device{'s' if row['devices'] > 1 else ''}"
    return (f"{len(rows):3} of {about['migrations']}  {NAMES[row['vmm']]:<14} {devices:<10} "
            f"downtime {short(row['downtime_ms'])} ms")


def everything(about, rows):
    """For --json."""
    summary = [{'vmm': kind, 'devices': n,
                **{key: median(rows, kind, n, key) for key in
                   ('downtime_ms', 'to_stop_ms', 'to_run_ms', 'told_ms', 'total_ms', 'bytes',
                    'device_bytes')}}
               for kind in kinds(rows) for n in counts(rows)]
    return {'about': about, 'medians': summary,
            'growth_ms_per_device': {kind: growth(rows, kind) for kind in kinds(rows)},
            'migrations': rows}
