#!/usr/bin/env python3
"""What the catalogue promises about its size, its builds and its pushes; see docs/fleet.md, "Measured".

    benches/fleet.py bake|sharing|bump|nova|all [--runs N] [--karman FILE] [--dir DIR] [--store DIR] [--no-write]

`bake` and `bump` need the network, `bump` docker-registry, `nova` root, buildah, runc and mmdebstrap. A case that
fails does not end the others. Exits with 1 when a figure is missed or a case failed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

from catalogue import Catalogue
from harness import (MIB, REPO, Area, Buildah, Failed, Karman, Registry, Series, asked, command_line, image_facts,
                     machine, publish, run, say, seconds, settle, table)
from relay import Relay

PAGE = os.path.join(REPO, "docs", "fleet.md")
HEADER = ["", "figure", "wanted"]
SERIES = "2026.1"
# Small pure-Python libraries and versions next to those of the series, by how many images have them: all with
# Python, most, one.
BUMPS = (("idna", "3.10"), ("tenacity", "9.1.2"), ("tabulate", "0.9.0"))
IMPORTS = "import nova.cmd.compute, nova.compute.manager, nova.virt.libvirt.driver"
USER = "42424:42424"


def main():
    parser = command_line(__doc__, CASES, runs=5, page="docs/fleet.md")
    parser.add_argument("--store", help="one in which the fleet is baked already; without it `bake` makes one, or the first case")
    parser.add_argument("--images", default="default", help="targets of the bake file; not all of them for trying a case out")
    options = asked(parser)
    facts = machine(options.dir)
    area = Area(options.dir, options.keep)
    # So that what was made is deleted when a caller ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missed = []
    try:
        for name in CASES if options.case == "all" else [options.case]:
            say("case " + name)
            rows, failed = measure(CASES[name], options, area)
            if failed:
                rows.append(["`%s` did not end: %s" % (name, failed.split("\n")[0]), "", ""])
                missed.append("%s: %s" % (name, failed))
            missed += ["%s: %s, wanted %s" % (what, value, wanted) for what, value, wanted, holds in rows_of(rows) if not holds]
            text = table(HEADER, [row[:3] for row in rows]) + "\n\n" + facts
            publish("fleet-" + name, text, not options.no_write, PAGE)
    finally:
        area.close()
    for line in missed:
        say("MISSED " + line)
    sys.exit(1 if missed else 0)


def measure(case, options, area):
    """The rows that a case gave, and what ended it before its time."""
    rows = []
    try:
        for row in case(options, area):
            say(": ".join(str(c) for c in row[:2]))
            rows.append(list(row))
    except (Failed, OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
        return rows, "%s: %s" % (type(error).__name__, error)
    return rows, None


def rows_of(rows):
    """Rows that stand against a number."""
    return [row for row in rows if len(row) == 4]


def at_most(what, value, limit, unit=""):
    text = "%.3f" % value if value < 1 else "%.2f" % value
    return what, text + unit, "≤ %g%s" % (limit, unit), value <= limit


def told(what, value):
    """A row that stands against nothing."""
    return what, value, ""


def megabytes(count):
    return "%.1f MB" % (count / 1e6)


# Bakes

def arguments(options, **variables):
    """Of a bake of the fleet, with variables of the bake file in place of their defaults."""
    given = [x for name, value in variables.items() for x in ("--var", "%s=%s" % (name, value))]
    return ["bake", "--keep-going", *given, *options.images.split(",")]


def baked(options, area):
    """A Karman whose store has the fleet, with nothing to do; the store is made once."""
    if not getattr(options, "fleet", None):
        options.fleet = Karman(options.karman, area.fresh("fleet"), options.store)
        options.fleet(*arguments(options), cwd=REPO)
    return options.fleet


def targets(options, karman):
    """Names of the targets that have images."""
    printed = ask(karman, "bake", "--print", *options.images.split(","), cwd=REPO)
    found, todo = set(), ["default"]
    while todo:
        name = todo.pop()
        if name in printed["group"]:
            todo += printed["group"][name]["targets"]
        else:
            found.add(name)
    return sorted(found)


def ask(karman, *args, cwd=None):
    """The JSON that a command prints."""
    done = subprocess.run([karman.binary, *args], env=karman.env, cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed("`karman %s` failed with %d:\n%s" % (" ".join(args[:3]), done.returncode, done.stderr[-2000:]))
    return json.loads(done.stdout)


def layers(karman, image):
    """Digest → compressed bytes of the layers of an image in the store."""
    shown = ask(karman, "image", "inspect", image)
    return {layer["digest"]: layer["size"] for platform in shown["platforms"] for layer in platform["manifest"]["layers"]}


def fleet_layers(options, karman, prefix=""):
    """Image → its layers."""
    return {name: layers(karman, "%s%s:latest" % (prefix, name)) for name in targets(options, karman)}


def different(images):
    """Bytes of all different layers."""
    return sum({digest: size for image in images.values() for digest, size in image.items()}.values())


class Disk(threading.Thread):
    """The most that the filesystem of `path` had in use, beyond what it had at the start."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.peak, self.ended = path, 0, threading.Event()
        self.before = self.used()

    def used(self):
        state = os.statvfs(self.path)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def run(self):
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, self.used() - self.before)

    def __enter__(self):
        os.sync()
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.peak = max(self.peak, self.used() - self.before)


def bake(options, area):
    """The whole fleet from an empty store, then again with nothing changed."""
    karman = Karman(options.karman, area.fresh("fleet"))
    with Disk(options.dir) as disk:
        cold = karman(*arguments(options), cwd=REPO)
    options.fleet = karman
    count = len(targets(options, karman))
    yield told("`karman bake --keep-going` from an empty store, %d images and their bases, time on the clock" % count,
               clock(cold.wall))
    yield told("the same, CPU time (user and system)", clock(cold.cpu))
    yield told("the same, resident memory of the largest process", "%d MiB" % (cold.rss // MIB))
    yield told("disk at its peak: the store with images, caches and build steps", "%.1f GB" % (disk.peak / 1e9))
    again = Series("nothing changed")
    for number in range(options.runs):
        settle(options.pause)
        say("run %d of %d: nothing changed" % (number + 1, options.runs))
        again.samples.append(karman(*arguments(options), cwd=REPO))
    walls = [s.wall for s in again.samples]
    yield ("the whole fleet again, nothing changed; median of %d" % len(walls), "%s s (%s to %s)"
           % (seconds(again.median()), seconds(min(walls)), seconds(max(walls))), "< 2 s", again.median() < 2)


def forget(options, karman, names):
    """Takes names out of a store that is the caller's; one of our own goes as a whole."""
    if options.store:
        run([karman.binary, "image", "rm", *names], karman.log, karman.env)


def clock(value):
    return "%d min %02d s" % divmod(round(value), 60)


# Sharing

def sharing(options, area):
    """What images share, cut along packages and cut by steps."""
    karman = baked(options, area)
    along = fleet_layers(options, karman)
    karman(*arguments(options, OUTPUT="type=image", PREFIX="steps/"), cwd=REPO)
    steps = fleet_layers(options, karman, "steps/")
    forget(options, karman, ["steps/" + name for name in steps])
    yield told("bytes of all different layers, by steps with one `COPY --link` of each environment", megabytes(different(steps)))
    yield told("the same along packages (the catalogue's)", megabytes(different(along)))
    yield at_most("along packages : by steps", different(along) / different(steps), 0.45)
    for name, limit in (("neutron", 0.35), ("glance", None), ("cinder", None), ("keystone", None), ("horizon", None)):
        if name not in along or "nova" not in along:
            continue
        pulled = sum(size for digest, size in along[name].items() if digest not in along["nova"])
        whole = sum(along[name].values())
        what = "pulled by a node that has nova, for %s (%s of %s) : %s" % (name, megabytes(pulled), megabytes(whole), name)
        yield at_most(what, pulled / whole, limit) if limit else told(what, "%.3f" % (pulled / whole))


# Bumps

def bump(options, area):
    """Bytes that go to a registry after one library moved to another version."""
    karman = baked(options, area)
    with Registry(area.fresh("registry")) as registry, Relay(registry.port) as relay:
        prefix = "127.0.0.1:%d/" % relay.port

        def push(**variables):
            """Bakes and pushes; bytes sent and bytes that the registry has more."""
            sent, stored = relay.sent, registry.stored()
            karman(*arguments(options, PREFIX=prefix, **variables), "--push", "--allow", "fs.read=" + area.path, cwd=REPO)
            return relay.sent - sent, registry.stored() - stored

        sent, whole = push()
        yield told("the whole fleet to an empty registry: sent, and stored there", "%s, %s" % (megabytes(sent), megabytes(whole)))
        for library, version in BUMPS:
            place, before, users = other_pins(area, library, version)
            sent, stored = push(CONSTRAINTS=place)
            what = "sent for the fleet after %s %s → %s, which %d images have (%s; %s stored) : the fleet" \
                % (library, before, version, users, megabytes(sent), megabytes(stored))
            yield at_most(what, 100 * sent / whole, 3, " %")
        forget(options, karman, [prefix + name for name in targets(options, karman)])


def other_pins(area, library, version):
    """A copy of the constraints with another version of a library; also the version before and how many images have it."""
    place = os.path.join(area.fresh("constraints"), "constraints")
    shutil.copytree(os.path.join(REPO, "constraints"), place)
    path = os.path.join(place, SERIES, "upper-constraints.txt")
    with open(path, encoding="utf-8") as pins:
        text = pins.read()
    found = re.search(r"^%s===(\S+)$" % re.escape(library), text, re.M)
    if not found:
        raise Failed("`%s` is not pinned in %s" % (library, path))
    with open(path, "w", encoding="utf-8") as pins:
        pins.write(text.replace(found.group(0), "%s===%s" % (library, version)))
    split = os.path.join(place, "split")
    run([sys.executable, os.path.join(REPO, "images/tools/split-series"), os.path.join(place, SERIES + ".toml"),
         os.path.join(place, SERIES), split], os.path.join(place, "log"))
    users = 0
    for name in os.listdir(split):
        with open(os.path.join(split, name, "constraints.txt"), encoding="utf-8") as pins:
            users += name not in ("all", "base") and "%s===" % library in [line.split("===")[0] + "===" for line in pins]
    shutil.rmtree(split)
    return place, found.group(1), users


# Nova

def nova(options, area):
    """Nova's image beside that of buildah from the same Dockerfiles without the policies."""
    if os.geteuid() != 0:
        raise Failed("buildah is measured as root")
    karman = baked(options, area)
    ours = sum(layers(karman, "nova:latest").values())
    place = area.fresh("buildah")
    tool = Buildah(place)
    policies = {"SLIM": "", "DPKG_EXCLUDE": "", "FREEZE_IMPORTS": "", "BYTECODE": "unchecked-hash"}
    images = Catalogue(tool, place, policies, options=())
    images.bases()
    images.service("nova")
    compiled = images.push("nova", "nova-compiled")
    images.policies["BYTECODE"] = "none"
    images.service("nova")
    plain = images.push("nova", "nova-plain")
    with_bytecode, without = (image_facts(archive)["compressed"] for archive in (compiled, plain))
    yield told("nova, compressed (gzip)", megabytes(ours))
    yield told("the same Dockerfiles by buildah, base with documentation, `SLIM` and `DPKG_EXCLUDE` empty, with bytecode",
               megabytes(with_bytecode))
    yield at_most("ours : buildah's, both with bytecode", ours / with_bytecode, 0.75)
    yield told("buildah's without bytecode", megabytes(without))
    yield told("ours, with bytecode : buildah's, without", "%.3f" % (ours / without))
    run([karman.binary, "load", "-i", plain, "-t", "bench-nova-plain"], karman.log, karman.env)
    yield from starts(options, karman, {"ours": "nova:latest", "buildah's": "bench-nova-plain:latest"})
    forget(options, karman, ["bench-nova-plain"])


def starts(options, karman, images):
    """Imports of nova-compute, read-only root, an ordinary user, in turns; the first run of each only fills the page cache."""
    found = {name: Series(name) for name in images}
    for number in range(options.runs + 1):
        for name, image in images.items():
            settle(options.pause)
            say("run %d of %d: imports, %s" % (number, options.runs, name))
            sample = run([karman.binary, "run", "--read-only", "--user", USER, "--network", "none", image, "--",
                          "python3", "-c", IMPORTS], karman.log, karman.env)
            if number:
                found[name].samples.append(sample)
    for name, series in found.items():
        yield told("imports of nova-compute with the libvirt driver, read-only root, user 42424, %s: clock, CPU; medians of %d"
                   % ("our image" if name == "ours" else "buildah's image without bytecode", options.runs),
                   "%s s, %s s" % (seconds(series.median()), seconds(series.cpu())))
    yield at_most("the same on the clock, ours : buildah's without bytecode", found["ours"].median() / found["buildah's"].median(), 0.3)
    yield told("the same in CPU time", "%.3f" % (found["ours"].cpu() / found["buildah's"].cpu()))


CASES = {"bake": bake, "sharing": sharing, "bump": bump, "nova": nova}

if __name__ == "__main__":
    main()
