"""Measuring, facts about machines and images, and the tables in docs/performance.md."""

import argparse
import gzip
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOC = os.path.join(REPO, "docs", "performance.md")
MIB = 1 << 20
# No command takes so long on any machine that is worth measuring on: one that hangs must not keep the others waiting.
LIMIT_SECONDS = 3600


@dataclass
class Sample:
    """One run: seconds on the clock, seconds of all processors, bytes of the largest process."""

    wall: float
    cpu: float = 0.0
    rss: int = 0

    def __add__(self, other):
        return Sample(self.wall + other.wall, self.cpu + other.cpu, max(self.rss, other.rss))


@dataclass
class Series:
    """The runs of one row of a table."""

    name: str
    samples: list = field(default_factory=list)

    def median(self):
        return statistics.median(s.wall for s in self.samples)

    def cpu(self):
        return statistics.median(s.cpu for s in self.samples)

    def row(self, reference=None, limit=None):
        walls = [s.wall for s in self.samples]
        spread = "%s to %s" % (seconds(min(walls)), seconds(max(walls)))
        rss = max(s.rss for s in self.samples)
        ratio = "" if reference is None else "%.3f" % (self.median() / reference.median())
        return [self.name, seconds(self.median()), spread, seconds(self.cpu()),
                "%d" % (rss // MIB) if rss else "", ratio, limit or ""]


def command_line(doc, cases, runs=None, runs_help=None, pause=1, page="docs/performance.md"):
    """What every script is asked with; it adds options of its own, and `asked` reads them."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("case", choices=[*cases, "all"])
    parser.add_argument("--runs", type=int, default=runs, help=runs_help)
    parser.add_argument("--pause", type=float, default=pause, help="seconds between runs")
    parser.add_argument("--karman", default=os.path.join(REPO, "target/release/karman"))
    parser.add_argument("--dir", default="/var/tmp", help="where stores are made")
    parser.add_argument("--keep", action="store_true", help="delete nothing")
    parser.add_argument("--no-write", action="store_true", help="leave %s alone" % page)
    return parser


def asked(parser):
    options = parser.parse_args()
    options.karman = os.path.abspath(options.karman)
    return options


HEADER = ["", "median s", "range s", "CPU s", "peak MiB", "of buildah", "wanted"]


def seconds(value):
    return "%.3f" % value if value < 10 else "%.1f" % value


class Failed(Exception):
    """A command that was measured or prepared did not succeed."""


def run(argv, log, env=None, cwd=None):
    """Runs a command to its end, with its output in the file `log`, and measures it."""
    with open(log, "ab") as out:
        out.write(("+ %s\n" % " ".join(argv)).encode())
        out.flush()
        start = time.monotonic()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 env=env, cwd=cwd)
        killer = threading.Timer(LIMIT_SECONDS, child.kill)
        killer.daemon = True
        killer.start()
        _, status, usage = os.wait4(child.pid, 0)
        killer.cancel()
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        with open(log, errors="replace") as f:
            tail = "".join(f.readlines()[-25:])
        raise Failed("`%s` failed with %d; the end of %s:\n%s"
                     % (" ".join(argv[:6]), child.returncode, log, tail))
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def printed(log, lines):
    """Fails unless every one of `lines` ends a line of `log`: proof that its step really ran."""
    with open(log, errors="replace") as f:
        seen = {line.split()[-1] for line in f if line.strip()}
    missing = [line for line in lines if line not in seen]
    if missing:
        raise Failed("`%s` lacks the output of steps %s" % (log, ", ".join(missing)))


def settle(pause):
    """Writes back what earlier runs left dirty, so that no run pays for the one before it."""
    os.sync()
    time.sleep(pause)


class Area:
    """The directory of one invocation. Nothing in it is deleted before the last measurement:
    creating files is slow on some filesystems right after many were deleted."""

    def __init__(self, path, keep):
        self.path = os.path.join(path, "karman-bench-%d" % os.getpid())
        self.keep = keep
        self.count = 0
        os.makedirs(self.path)

    def fresh(self, name):
        self.count += 1
        path = os.path.join(self.path, "%02d-%s" % (self.count, name))
        os.makedirs(path)
        return path

    def close(self):
        if self.keep:
            say("kept %s" % self.path)
            return
        with open("/proc/self/mounts") as f:
            points = [line.split()[1] for line in f]
        for point in sorted((p for p in points if p.startswith(self.path + "/")), reverse=True):
            subprocess.run(["umount", "-l", point], check=False)
        shutil.rmtree(self.path, ignore_errors=True)


class Buildah:
    """Buildah with a store of its own below `area`."""

    def __init__(self, area):
        self.area = area
        self.log = os.path.join(area, "buildah.log")
        temp = os.path.join(area, "tmp")
        os.makedirs(temp)
        self.env = dict(os.environ, TMPDIR=temp)
        self.stem = ["buildah", "--root", os.path.join(area, "root"),
                     "--runroot", os.path.join(area, "runroot"), "--storage-driver", "overlay"]

    def __call__(self, *args, cwd=None):
        return run([*self.stem, *args], self.log, self.env, cwd)

    def build(self, *args, cwd=None):
        return self("bud", "--runtime", "runc", "--layers", "--network", "host", *args, cwd=cwd)

    def load(self, layout, name):
        self("pull", "-q", "oci:%s:latest" % layout)
        listed = subprocess.run([*self.stem, "images", "-q"], env=self.env, check=True,
                                capture_output=True, text=True)
        self("tag", listed.stdout.split()[0], name)

    def push(self, name, archive):
        return self("push", "-q", name, "oci-archive:%s:latest" % archive)


class Karman:
    """Karman with a store of its own below `area`."""

    def __init__(self, binary, area, store=None):
        self.binary = binary
        self.log = os.path.join(area, "karman.log")
        self.env = dict(os.environ, KARMAN_ROOT=store or os.path.join(area, "store"))

    def __call__(self, *args, cwd=None):
        command, *rest = args
        return run([self.binary, command, "--progress", "plain", *rest], self.log, self.env, cwd)


class Registry:
    """Debian's docker-registry on the loopback, with a storage of its own below `area`."""

    def __init__(self, area):
        self.program = shutil.which("docker-registry")
        if not self.program:
            raise Failed("no docker-registry on this host; Debian has one in `docker-registry`")
        self.storage = os.path.join(area, "storage")
        self.config = os.path.join(area, "config.yml")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        with open(self.config, "w") as out:
            out.write("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\n"
                      "http:\n  addr: %s\n" % (self.storage, self.address))

    def __enter__(self):
        self.server = subprocess.Popen([self.program, "serve", self.config], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise Failed("docker-registry does not listen on " + self.address)

    def __exit__(self, *_):
        self.server.terminate()
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def stored(self):
        """Bytes of all blobs that it has: layers, configs and manifests, each once."""
        blobs = os.path.join(self.storage, "docker/registry/v2/blobs")
        return sum(os.path.getsize(os.path.join(place, name))
                   for place, _, names in os.walk(blobs) for name in names if name == "data")


def alternate(runs, pause, tools):
    """Calls each of `tools` in turn, `runs` times."""
    for number in range(runs):
        for name, call in tools:
            settle(pause)
            say("run %d of %d: %s" % (number + 1, runs, name))
            call()


def image_facts(archive):
    """Layers, compressed and unpacked bytes, files and Debian packages of an OCI archive."""
    with tarfile.open(archive) as tar:
        def blob(digest):
            return tar.extractfile("blobs/" + digest.replace(":", "/"))
        index = json.load(tar.extractfile("index.json"))
        manifest = json.load(blob(index["manifests"][0]["digest"]))
        while "manifests" in manifest:
            manifest = json.load(blob(manifest["manifests"][0]["digest"]))
        tree, status = {}, b""
        for layer in manifest["layers"]:
            if layer["mediaType"].endswith("zstd"):
                raise Failed("`%s` has zstd layers, which Python cannot read" % archive)
            stream = blob(layer["digest"])
            if layer["mediaType"].endswith("gzip"):
                stream = gzip.GzipFile(fileobj=stream)
            status = apply_layer(stream, tree) or status
    return {"layers": len(manifest["layers"]),
            "compressed": sum(layer["size"] for layer in manifest["layers"]),
            "unpacked": sum(tree.values()),
            "files": len(tree),
            "packages": len(re.findall(rb"^Status: install ok installed$", status, re.M))}


def apply_layer(stream, tree):
    """Lays a layer over `tree` (path to bytes) and returns the dpkg status file if it has one."""
    status, added = None, {}
    with tarfile.open(fileobj=stream, mode="r|") as layer:
        for member in layer:
            path = os.path.normpath(member.name).lstrip("/")
            parent, base = os.path.split(path)
            if base == ".wh..wh..opq":
                for old in [p for p in tree if p.startswith(parent + "/")]:
                    del tree[old]
            elif base.startswith(".wh."):
                gone = os.path.join(parent, base[4:])
                for old in [p for p in tree if p == gone or p.startswith(gone + "/")]:
                    del tree[old]
            elif not member.isdir():
                added[path] = member.size if member.isreg() else 0
                if path == "var/lib/dpkg/status":
                    status = layer.extractfile(member).read()
    tree.update(added)
    return status


def machine(directory):
    """One sentence about the machine, the filesystem of `directory` and the tools."""
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal:\s*(\d+)", f.read()).group(1)) / MIB
    fs = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", directory],
                        capture_output=True, text=True)
    tools = []
    for tool in ("buildah", "runc", "mmdebstrap"):
        if shutil.which(tool):
            out = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
            tools.append(" ".join(out.split("\n")[0].replace("version", "").split()[:2]))
    return "%d × %s, %.0f GiB, Linux %s, %s; %s; load at the start %.1f; %s." % (
        os.cpu_count(), model.group(1) if model else "processor", memory,
        os.uname().release.split("-")[0], fs.stdout.strip(), ", ".join(tools),
        os.getloadavg()[0], time.strftime("%Y-%m-%d"))


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| %s |" % " | ".join(str(c) for c in line) for line in lines)


def publish(name, text, write, doc=DOC):
    """Prints a section and puts it between its markers in `doc`."""
    print(text, flush=True)
    if not write:
        return
    opening, closing = "<!-- bench:%s -->" % name, "<!-- /bench:%s -->" % name
    with open(doc, encoding="utf-8") as f:
        page = f.read()
    head, found, rest = page.partition(opening)
    _, ended, tail = rest.partition(closing)
    if not found or not ended:
        raise Failed("`%s` has no markers for `%s`" % (doc, name))
    with open(doc, "w", encoding="utf-8") as f:
        f.write(head + opening + "\n" + text.strip() + "\n" + closing + tail)


def say(text):
    print("· " + text, file=sys.stderr, flush=True)
