#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A VM with four devices, back and forth between two VMMs for a set time.

	bench/soak.py [--minutes N] [--migrations N] [--pause SECONDS]
	              [--downtime-limit MS] [--program PROGRAM]

Both VMMs and all eight simulated devices live from the beginning to the end, so that what they leak
is seen. After each migration the hashes of memory and devices on both sides are compared, and the
guest must have found no wrong byte and go on beating. Told at the end: migrations,
failures, downtimes, and how each process grew (anonymous memory and open descriptors) since the
tenth migration. Exit status 0 only if nothing failed.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PERSONALITIES = ["mlx5", "virtio", "qat", "pds"]  # all have P2P, as four devices need
WARM = 10            # migrations before growth is measured
PATIENCE = 60        # seconds of one step
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class Failed(Exception):
    pass


class Vm:
    """One VMM with its devices, seen through its control socket."""

    def __init__(self, program, directory, name):
        self.program, self.directory, self.name = program, directory, name
        self.processes = {}

    def start(self, incoming, limit):
        for i, personality in enumerate(PERSONALITIES):
            self.spawn(f"sim{i}", self.program, "sim", f"--socket={self.path(f'sim{i}')}",
                       f"--personality={personality}", "--dma-rate=100")
        for i in range(len(PERSONALITIES)):
            wait_for(f"device {i} of {self.name}", lambda: os.path.exists(self.path(f"sim{i}")))
        devices = [f"--device={self.path(f'sim{i}')}" for i in range(len(PERSONALITIES))]
        self.spawn("vm", self.program, "vm", "--memory=64M", "--dirty-rate=4M", "--verify", "--quiet",
                   f"--downtime-limit={limit}", f"--control={self.path('qmp')}", *devices,
                   *(["--incoming=defer"] if incoming else []))
        self.connect()

    def path(self, what):
        return os.path.join(self.directory, f"{self.name}.{what}")

    def spawn(self, what, *argv):
        with open(self.path(f"{what}.log"), "wb") as log:
            self.processes[what] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log)

    def connect(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(self.path("qmp"))
                break
            except OSError:
                self.socket.close()
                if self.processes["vm"].poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"VMM {self.name} does not come up")
                time.sleep(0.05)
        self.socket.settimeout(PATIENCE)
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise Failed(f"VMM {self.name} is gone at {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(f"VMM {self.name}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def footprint(self):
        """{process: (KiB of anonymous memory, open descriptors)}"""
        out = {}
        for what, process in self.processes.items():
            with open(f"/proc/{process.pid}/status") as status:
                anon = next(int(l.split()[1]) for l in status if l.startswith("RssAnon:"))
            out[f"{self.name} {what}"] = (anon, len(os.listdir(f"/proc/{process.pid}/fd")))
        return out

    def end(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE} s")
        time.sleep(0.01)


def beats(vm):
    live = vm.ask("x-vfm-verify")["live"]
    if live["failures"]:
        raise Failed(f"the guest found: {live['failure']}")
    return sum(live["heartbeat"])


def ended(vm):
    status = vm.ask("query-migrate").get("status")
    return status if status in ("completed", "failed", "cancelled", "in-doubt") else None


def move(source, destination, address):
    """The outcome, and the report of the source."""
    destination.ask("migrate-incoming", uri=address)
    source.ask("migrate", uri=address)
    status = wait_for("the migration's end", lambda: ended(source))
    return status, source.ask("x-vfm-report")


def compare(source, destination):
    wait_for("the destination's end", lambda: ended(destination))
    there = source.ask("x-vfm-verify")["stopped"]
    here = destination.ask("x-vfm-verify")["stopped"]
    for side in there, here:
        side.pop("took-ms")
    if there != here:
        raise Failed(f"source and destination differ: {there} {here}")


def check_alive(vm):
    before = beats(vm)
    wait_for(f"the heart on {vm.name}", lambda: beats(vm) > before)


class Count:
    def __init__(self):
        self.done = self.failed = 0
        self.downtimes = []
        self.first = None


def once(pair, count, address):
    source, destination = pair
    status, report = move(source, destination, address)
    if status != "completed":
        raise Failed(f"it ended as {status}: {report.get('error')}")
    compare(source, destination)
    check_alive(destination)
    count.done += 1
    count.downtimes.append(report["downtime_ms"])
    pair.reverse()


def footprints(pair):
    out = {}
    for vm in pair:
        out.update(vm.footprint())
    return out


def tell(count, pair, started):
    d = sorted(count.downtimes)
    print(f"{count.done} migrations in "
          f"{(time.monotonic() - started) / 60:.1f} minutes, {count.failed} failures")
    if d:
        print(f"downtime, ms: median {statistics.median(d):.2f}, 99th percentile "
              f"{d[int(len(d) * 0.99)]:.2f}, longest {d[-1]:.2f}")
    if not count.first:
        return
    print(f"since migration {WARM}: anonymous memory, KiB, and open descriptors")
    for name, (anon, fds) in sorted(footprints(pair).items()):
        anon0, fds0 = count.first[name]
        print(f"  {name:12} {anon0:8} -> {anon:8}   {fds0:4} -> {fds:4}")


def soak(options, directory):
    pair, count, started, n = [], Count(), time.monotonic(), 0
    told = started
    try:
        for name in "AB":
            pair.append(Vm(options.program, directory, name))
        for vm in pair:
            vm.start(vm.name == "B", options.downtime_limit)
        while (time.monotonic() - started < options.minutes * 60
               and count.done < options.migrations):
            n += 1
            address = f"unix:{directory}/move{n % 2}"
            once(pair, count, address)
            time.sleep(options.pause)
            if count.done == WARM:
                count.first = footprints(pair)
            if time.monotonic() - told > 300:
                told = time.monotonic()
                tell(count, pair, started)
                sys.stdout.flush()
    except (Failed, OSError, ValueError) as failure:
        count.failed += 1
        print(f"soak: migration {n}: {failure}", file=sys.stderr)
    finally:
        try:
            tell(count, pair, started)
        except OSError as gone:
            print(f"soak: a process is gone: {gone}", file=sys.stderr)
        for vm in pair:
            vm.end()
    return count.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--migrations", type=int, default=sys.maxsize, metavar="N",
                        help="end after so many, too")
    parser.add_argument("--pause", type=float, default=1, help="seconds between migrations (1)")
    parser.add_argument("--downtime-limit", default="300", metavar="MS", help="or unlimited (300)")
    parser.add_argument("--program", default=f"{ROOT}/build-release/cli/vfio-migrate")
    options = parser.parse_args()
    if not os.access(options.program, os.X_OK):
        print(f"soak.py: no program at {options.program}: ./run bench builds it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="vfm-soak-") as directory:
        failed = soak(options, directory)
        if failed:
            for name in sorted(os.listdir(directory)):
                if name.endswith(".log"):
                    with open(os.path.join(directory, name), errors="replace") as log:
                        text = log.read()[-2000:]
                    if text:
                        print(f"---- {name}\n{text}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
