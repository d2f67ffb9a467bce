#!/usr/bin/env python3
"""Karman and Debian's buildah side by side; see docs/performance.md.

    benches/run.py run40|files|bake|warm|all [--runs N] [--karman FILE] [--dir DIR] [--no-write]

Needs root, buildah, runc and busybox-static, for `bake` also mmdebstrap and the network.
"""

import os
import shutil
import sys

import inputs
from catalogue import fleet_with_buildah
from harness import (HEADER, MIB, REPO, Area, Buildah, Failed, Karman, Series, alternate, asked,
                     command_line, image_facts, machine, printed, publish, say, table)

TAG = "localhost/bench"
LIMITS = {"run40": "≤ 0.10", "files": "≤ 0.15", "bake": "≤ 0.70"}
SERVICES = ("keystone", "nova")


def main():
    parser = command_line(__doc__, CASES, runs_help="repetitions; default 3, 1 for bake, 5 for warm", pause=5)
    parser.add_argument("--store", help="for `warm`: a store in which the fleet is baked already")
    options = asked(parser)
    if os.geteuid() != 0:
        sys.exit("run.py: buildah is measured as root")
    facts = machine(options.dir)
    area = Area(options.dir, options.keep)
    try:
        for name in CASES if options.case == "all" else [options.case]:
            publish(name, CASES[name](options, area) + "\n\n" + facts, not options.no_write)
    except Failed as error:
        sys.exit("run.py: %s" % error)
    finally:
        area.close()


def run40(options, area):
    context = area.fresh("run40")
    write(os.path.join(context, "Dockerfile"), inputs.RUN40)
    steps = [str(n) for n in range(1, inputs.RUN_STEPS + 1)]
    return small_build("run40", options, area, context, steps)


def files(options, area):
    context = area.fresh("files")
    write(os.path.join(context, "Dockerfile"), inputs.COPY_FILES)
    say("writing %d files" % inputs.FILES)
    inputs.many_files(context)
    return small_build("files", options, area, context)


def small_build(name, options, area, context, outputs=()):
    """Builds `context` on the busybox base with both tools, with and without an OCI archive;
    each of `outputs` is what a step prints."""
    layout = os.path.join(area.fresh("base"), "layout")
    inputs.base_layout(layout)
    plain = os.path.join(context, "Dockerfile.buildah")
    with open(os.path.join(context, "Dockerfile")) as f:
        write(plain, inputs.for_buildah(f.read()))
    whole, stored = Series("karman, OCI archive"), Series("karman, image in its store")
    build, both = Series("buildah, image in its store"), Series("buildah, build and push")
    archives = {}

    def karman(series, output):
        place = area.fresh("karman")
        archive = os.path.join(place, "out.tar")
        tool = Karman(options.karman, place)
        series.samples.append(tool(
            "build", "-t", TAG, "-o", output.format(archive),
            "--build-context", "base=oci-layout://%s:latest" % layout, context))
        printed(tool.log, outputs)
        if os.path.exists(archive):
            archives["karman"] = archive

    def buildah():
        place = area.fresh("buildah")
        tool = Buildah(place)
        tool.load(layout, "localhost/base")
        archive = os.path.join(place, "out.tar")
        built = tool.build("--build-context", "base=docker-image://localhost/base", "-t", TAG,
                           "-f", plain, context)
        printed(tool.log, outputs)
        build.samples.append(built)
        both.samples.append(built + tool.push(TAG, archive))
        archives["buildah"] = archive

    alternate(options.runs or 3, options.pause, [
        ("karman, OCI archive", lambda: karman(whole, "type=oci,dest={}")),
        ("karman, store", lambda: karman(stored, "type=image")),
        ("buildah", buildah)])
    rows = [whole.row(both, LIMITS[name]), both.row(), stored.row(build), build.row()]
    return table(HEADER, rows) + "\n\n" + sizes([("karman", archives["karman"]),
                                                ("buildah", archives["buildah"])])


def bake(options, area):
    """The fleet from nothing, base system included; also the base system alone."""
    fleet, total = Series("karman bake keystone nova"), Series("buildah, the same images in order")
    base, bootstrap = Series("karman, base system alone"), Series("mmdebstrap, base system alone")
    parts, archives = {}, []

    def karman():
        place = area.fresh("karman")
        archives[:0] = [("karman " + s, os.path.join(place, s + ".tar")) for s in SERVICES]
        fleet.samples.append(Karman(options.karman, place)(*bake_arguments(place), cwd=REPO))

    def karman_base():
        place = area.fresh("karman-base")
        write(os.path.join(place, "Dockerfile"), "FROM base\n")
        base.samples.append(Karman(options.karman, place)(
            "build", "-t", TAG, "-o", "type=image", "--build-context",
            "base=debootstrap://debian/" + inputs.SUITE, place))

    def buildah():
        place = area.fresh("buildah")
        tool = Buildah(place)
        steps = fleet_with_buildah(tool, place, SERVICES)
        bootstrap.samples.append(steps["mmdebstrap"])
        for name, sample in steps.items():
            parts.setdefault(name, Series("buildah: " + name)).samples.append(sample)
        total.samples.append(sum(list(steps.values())[1:], list(steps.values())[0]))
        archives.extend(("buildah " + s, os.path.join(place, s + ".tar")) for s in SERVICES)

    alternate(options.runs or 1, options.pause,
              [("karman", karman), ("karman, base alone", karman_base), ("buildah", buildah)])
    rows = [fleet.row(total, LIMITS["bake"]), total.row()]
    rows += [part.row() for part in parts.values()]
    rows += [base.row(bootstrap), bootstrap.row()]
    return table(HEADER, rows) + "\n\n" + sizes(list(dict(archives).items()))


def bake_arguments(place):
    arguments = ["bake", *SERVICES]
    for service in SERVICES:
        archive = os.path.join(place, service + ".tar")
        arguments += ["--set", "%s.output=type=oci,dest=%s" % (service, archive)]
    return arguments


def warm(options, area):
    """A second bake with nothing changed, to the store and to OCI archives."""
    place = area.fresh("karman")
    tool = Karman(options.karman, place, options.store)
    say("first bake")
    tool(*bake_arguments(place), cwd=REPO)
    tool("bake", *SERVICES, cwd=REPO)
    stored, archived = Series("karman bake, images in its store"), Series("karman bake, OCI archives")

    def archives():
        archived.samples.append(tool(*bake_arguments(area.fresh("archives")), cwd=REPO))

    alternate(options.runs or 5, min(options.pause, 2), [
        ("store", lambda: stored.samples.append(tool("bake", *SERVICES, cwd=REPO))),
        ("archives", archives)])
    return table(HEADER, [stored.row(limit="< 0.5 s"), archived.row(limit="< 0.5 s")])


def sizes(archives):
    rows = []
    for name, archive in archives:
        facts = image_facts(archive)
        rows.append([name, facts["layers"], "%.1f" % (facts["compressed"] / MIB),
                     "%.1f" % (facts["unpacked"] / MIB), facts["files"], facts["packages"] or ""])
    return table(["image", "layers", "compressed MiB", "unpacked MiB", "files",
                  "Debian packages"], rows)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


CASES = {"run40": run40, "files": files, "bake": bake, "warm": warm}

if __name__ == "__main__":
    if not shutil.which("buildah"):
        sys.exit("run.py: no buildah")
    main()
