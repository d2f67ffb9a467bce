"""What the builds are made of: a base image, a large context, and the Dockerfiles."""

import gzip
import hashlib
import io
import json
import os
import platform
import random
import re
import shutil
import subprocess
import tarfile

EPOCH = 1577836800
RUN_STEPS = 40
FILES = 50_000
FILES_BYTES = 120_000_000
FILES_PER_DIRECTORY = 100

SUITE = "trixie"

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())

# Every step differs: Karman would run equal ones on an unchanged filesystem only once.
RUN40 = "FROM base\n" + "".join("RUN echo %d\n" % n for n in range(1, RUN_STEPS + 1))
COPY_FILES = """FROM base AS data
COPY src /src
FROM base
COPY --from=data --link /src /src
"""

# What Debian's official slim images and Karman's `debootstrap://` set, for the base made by
# mmdebstrap: without it buildah would carry manuals, translations and downloaded packages along.
SLIM = ["--dpkgopt=force-unsafe-io"] + [
    "--dpkgopt=path-%s" % rule for rule in (
        "exclude=/usr/share/doc/*", "exclude=/usr/share/info/*", "exclude=/usr/share/linda/*",
        "exclude=/usr/share/lintian/overrides/*", "exclude=/usr/share/locale/*",
        "exclude=/usr/share/man/*", "exclude=/usr/share/gnome/help/*/*",
        "exclude=/usr/share/groff/*", "include=/usr/share/doc/*/copyright",
        "include=/usr/share/locale/locale.alias", "include=/usr/share/gnome/help/*/C/*")]
# Not by `--aptopt`: mmdebstrap's own apt would run the hooks on the host.
APT_CLEAN = """DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
"""
FLEET_BASE = """FROM scratch
ADD base.tar /
COPY docker-clean /etc/apt/apt.conf.d/docker-clean
"""


def base_layout(directory):
    """Writes the OCI layout of a one-layer image that holds busybox; the base of `run40` and
    `files`."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise SystemExit("no busybox on this host; Debian has a static one in `busybox-static`")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            add(tar, name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        add(tar, "etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\n")
        add(tar, "etc/group", data=b"root:x:0:\n")
        with open(busybox, "rb") as f:
            add(tar, "bin/busybox", mode=0o755, data=f.read())
        for applet in applets.stdout.split():
            if applet != "busybox":
                add(tar, "bin/" + os.path.basename(applet), tarfile.SYMTYPE, 0o777, link="busybox")
    raw = layer.getvalue()
    os.makedirs(os.path.join(directory, "blobs", "sha256"))

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(directory, "blobs", "sha256", digest), "wb") as f:
            f.write(data)
        return {"mediaType": "application/vnd.oci.image.%s" % kind,
                "digest": "sha256:" + digest, "size": len(data)}

    config = {"architecture": ARCHITECTURE, "os": "linux", "config": {"Env": ["PATH=/bin"]},
              "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "busybox"}],
              "rootfs": {"type": "layers",
                         "diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest()]}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob(json.dumps(config).encode(), "config.v1+json"),
                "layers": [blob(gzip.compress(raw, mtime=0), "layer.v1.tar+gzip")]}
    entry = dict(blob(json.dumps(manifest).encode(), "manifest.v1+json"),
                 platform={"os": "linux", "architecture": ARCHITECTURE},
                 annotations={"org.opencontainers.image.ref.name": "latest"})
    for name, value in (("index.json", {"schemaVersion": 2, "manifests": [entry]}),
                        ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(directory, name), "w") as f:
            json.dump(value, f)


def add(tar, name, kind=tarfile.REGTYPE, mode=0o644, data=b"", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime, info.linkname, info.size = kind, mode, EPOCH, link, len(data)
    tar.addfile(info, io.BytesIO(data))


def many_files(directory):
    """Writes `FILES` files of `FILES_BYTES` in all, the same ones on every machine: prose of
    random words, Python-like lines and digits, of very mixed lengths."""
    source = random.Random(20260401)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(source.choices(letters, range(26, 0, -1), k=source.randint(2, 9)))
             for _ in range(2_000)]
    common = [1 / (rank + 8) for rank in range(len(words))]
    lines = []
    while len(lines) < 100_000:
        picked = source.choices(words, common, k=source.randint(2, 9))
        lines.append(source.choice(("%s\n", "    self.%s = None\n", "# %s\n", "def %s():\n"))
                     % source.choice((" ", "_", ", ")).join(picked))
        if len(lines) % 12 == 0:
            lines.append("%d %x\n" % (source.getrandbits(40), source.getrandbits(64)))
    text = "".join(lines).encode()
    weights = [source.lognormvariate(0, 1) for _ in range(FILES)]
    scale = FILES_BYTES / sum(weights)
    left = FILES_BYTES
    for number, weight in enumerate(weights):
        size = left if number == FILES - 1 else min(left, int(weight * scale))
        left -= size
        folder = os.path.join(directory, "src", "d%03d" % (number // FILES_PER_DIRECTORY))
        if number % FILES_PER_DIRECTORY == 0:
            os.makedirs(folder)
        start = source.randrange(len(text))
        data = (text[start:] + text)[:size] if size > len(text) - start \
            else text[start:start + size]
        with open(os.path.join(folder, "f%05d.txt" % number), "wb") as f:
            f.write(data)


def for_buildah(dockerfile):
    """Takes out what buildah 1.28 does not know, nothing else:

    - `--link` of COPY and ADD;
    - `--checksum=…` of ADD: the download is then not verified;
    - `sharing=private` of cache mounts; there is one build at a time;
    - `${TARGETARCH}` in FROM, which is empty there: the architecture is written out.
    """
    text = re.sub(r"^((?:COPY|ADD)\b.*?) --link\b", r"\1", dockerfile, flags=re.M)
    text = re.sub(r"^(ADD) --checksum=\S+", r"\1", text, flags=re.M)
    text = re.sub(r"^(FROM .*)\$\{TARGETARCH\}", r"\1" + ARCHITECTURE, text, flags=re.M)
    return text.replace(",sharing=private", "")
