#!/usr/bin/env python3
"""What Karman promises about its own speed and memory; see docs/performance.md, "Promises".

    benches/limits.py nochange|context|layers|memory|export|remote|all [--runs N] [--karman FILE] [--dir DIR] [--no-write]

Needs busybox-static, for `remote` also docker-registry. Nothing is compared with another builder here: every
row stands against a number. Exits with 1 when one is missed. With `--pause 0`
dirty pages of others are left alone too.
"""

import os
import shutil
import sys

import inputs
from harness import (MIB, Area, Failed, Karman, Registry, Series, asked, command_line, machine,
                     publish, run, say, seconds, settle, table)

HEADER = ["", "median s", "range s", "CPU s", "peak MiB", "value", "wanted"]
STEPS = 30
CONTEXT_FILES = 100_000
TREE = "/usr/lib/python3"
BIG = 4 << 30


def main():
    parser = command_line(__doc__, CASES, runs=5)
    parser.add_argument("--tree", default=TREE, help="what `layers` compresses")
    options = asked(parser)
    facts = machine(options.dir)
    area = Area(options.dir, options.keep)
    missed = []
    try:
        rows = []
        for name in CASES if options.case == "all" else [options.case]:
            for series, value, wanted, holds in CASES[name](options, area):
                row = series.row()[:5]
                rows.append([*row, value, wanted])
                if not holds:
                    missed.append("%s: %s, wanted %s" % (series.name, value, wanted))
        text = table(HEADER, rows) + "\n\n" + facts
        publish("limits", text, not options.no_write and options.case == "all")
    except Failed as error:
        sys.exit("limits.py: %s" % error)
    finally:
        area.close()
    for line in missed:
        say("MISSED " + line)
    sys.exit(1 if missed else 0)


def repeat(options, series, call):
    """Calls `call` as often as asked and keeps what it measured."""
    for number in range(options.runs):
        calm(options)
        say("run %d of %d: %s" % (number + 1, options.runs, series.name))
        series.samples.append(call())
    return series


def calm(options):
    if options.pause:
        settle(options.pause)


def below(series, limit):
    """A row whose median must be below `limit` seconds."""
    value = series.median()
    return (series, seconds(value) + " s", "< %s s" % limit, value < limit)


def base(area):
    layout = os.path.join(area.fresh("base"), "layout")
    inputs.base_layout(layout)
    return ["--build-context", "base=oci-layout://" + layout]


def write(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def with_tree(name, options, area):
    """A context with the tree, and a Karman with an empty store."""
    directory = area.fresh(name)
    shutil.copytree(options.tree, os.path.join(directory, "tree"), symlinks=True)
    write(os.path.join(directory, "Dockerfile"), "FROM scratch\nCOPY tree /tree\n")
    return directory, Karman(options.karman, area.fresh("karman"))


def nochange(options, area):
    """A build of thirty steps in which nothing changed."""
    context = area.fresh("nochange")
    steps = "".join("RUN echo %d > /f%d\n" % (n, n) for n in range(1, STEPS + 1))
    write(os.path.join(context, "Dockerfile"), "FROM base\n" + steps)
    karman = Karman(options.karman, area.fresh("karman"))
    args = ["build", *base(area), "-t", "bench", context]
    karman(*args)
    series = Series("build of %d steps, nothing changed" % STEPS)
    yield below(repeat(options, series, lambda: karman(*args)), 0.050)


def context(options, area):
    """A build whose context has a hundred thousand files that did not change."""
    directory = area.fresh("context")
    write(os.path.join(directory, "Dockerfile"), "FROM scratch\nCOPY src /src\n")
    for number in range(CONTEXT_FILES):
        place = os.path.join(directory, "src", "%03d" % (number // 100))
        if number % 100 == 0:
            os.makedirs(place)
        write(os.path.join(place, "%d.txt" % number), "file %d\n" % number)
    karman = Karman(options.karman, area.fresh("karman"))
    args = ["build", "-o", "type=cacheonly", directory]
    karman(*args)
    series = Series("build with %d unchanged files" % CONTEXT_FILES)
    yield below(repeat(options, series, lambda: karman(*args)), 0.5)


def layers(options, area):
    """Making a layer of a snapshot that exists, against `tar | gzip -6` on one core in the same run."""
    directory, karman = with_tree("layers", options, area)
    karman("build", "-o", "type=cacheonly", directory)
    log = os.path.join(area.fresh("gzip"), "log")
    # One core: tar and gzip take turns on it.
    command = "tar -C '%s' -cf - tree | gzip -6 > /dev/null" % directory
    pinned = ["taskset", "-c", "0", "sh", "-c", command]
    reference = Series("tar and gzip -6 of %s, one core" % options.tree)
    found = {"gzip": Series("layer with gzip"), "zstd": Series("layer with zstd"),
             "estargz": Series("layer with estargz")}
    count = 0
    for number in range(options.runs):
        calm(options)
        say("run %d of %d: layers" % (number + 1, options.runs))
        reference.samples.append(run(pinned, log))
        for kind, series in found.items():
            # A timestamp that no run had belongs to the step too, so the snapshot is made off the clock.
            count += 1
            env = dict(karman.env, SOURCE_DATE_EPOCH=str(inputs.EPOCH + count))
            argv = [options.karman, "build", "--progress", "plain", directory, "-o"]
            run([*argv, "type=cacheonly"], karman.log, env)
            output = "type=image,name=bench,compression=%s" % kind
            series.samples.append(run([*argv, output], karman.log, env))
    yield (reference, "1", "", True)
    for kind, factor in (("gzip", 3), ("zstd", 8), ("estargz", 0)):
        series = found[kind]
        ratio = reference.median() / series.median()
        wanted = "≥ %d ×" % factor if factor else ""
        yield (series, "%.1f ×" % ratio, wanted, ratio >= factor)


def memory(options, area):
    """The memory of a build that makes a layer of 4 GiB."""
    directory = area.fresh("memory")
    block = os.urandom(MIB)
    with open(os.path.join(directory, "big"), "wb") as big:
        for number in range(BIG // MIB):
            # Half of it compresses.
            big.write(block[:MIB // 2] + bytes([number % 251]) * (MIB // 2))
    write(os.path.join(directory, "Dockerfile"), "FROM scratch\nCOPY big /big\n")
    for kind in ("gzip", "zstd"):
        karman = Karman(options.karman, area.fresh("karman"))
        series = Series("build of a layer of 4 GiB, %s" % kind)
        args = ["build", "-o", "type=image,name=bench,compression=%s" % kind, directory]
        series.samples.append(karman(*args))
        peak = max(s.rss for s in series.samples) // MIB
        yield (series, "%d MiB" % peak, "< 300 MiB", peak < 300)
        shutil.rmtree(karman.env["KARMAN_ROOT"], ignore_errors=True)


def export(options, area):
    """Writing an image whose layers exist to a layout: links, no copies."""
    directory, karman = with_tree("export", options, area)
    karman("build", "-t", "bench", directory)
    places = []

    def once():
        place = os.path.join(area.fresh("layout"), "out")
        places.append(place)
        return karman("build", "-o", "type=oci,tar=false,dest=" + place, directory)

    series = repeat(options, Series("export of layers that exist to a layout"), once)
    copied = 0
    blobs = os.path.join(places[-1], "blobs/sha256")
    for name in os.listdir(blobs):
        stat = os.stat(os.path.join(blobs, name))
        copied += stat.st_size if stat.st_nlink == 1 else 0
    yield (series, "%d bytes copied" % copied, "0", copied == 0)


def remote(options, area):
    """A second store that is warmed from a registry and runs the changed last step only."""
    directory = area.fresh("remote")
    steps = "".join("RUN head -c 2000000 /dev/urandom > /f%d\n" % n for n in range(1, STEPS))
    dockerfile = os.path.join(directory, "Dockerfile")
    write(dockerfile, "FROM base\n" + steps + "RUN echo one > /last\n")
    with Registry(area.fresh("registry")) as registry:
        reference = registry.address + "/bench:cache"
        where = base(area)
        cold = Series("build of %d steps from nothing, cache written" % STEPS)
        karman = Karman(options.karman, area.fresh("karman"))
        to = "--cache-to=type=registry,ref=%s,mode=max" % reference
        cold.samples.append(karman("build", *where, to, "-t", "bench", directory))
        write(dockerfile, "FROM base\n" + steps + "RUN echo two > /last\n")

        def once():
            other = Karman(options.karman, area.fresh("other"))
            return other("build", *where, "--cache-from=" + reference, "-t", "bench", directory)

        yield (cold, "", "", True)
        warm = repeat(options, Series("the same in an empty store, last step changed, cache read"), once)
        yield (warm, "1 step ran", "", True)


CASES = {"nochange": nochange, "context": context, "layers": layers, "memory": memory,
         "export": export, "remote": remote}

if __name__ == "__main__":
    main()
