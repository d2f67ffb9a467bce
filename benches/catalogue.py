"""The images of docker-bake.hcl as buildah builds them, one after the other."""

import os
import re

import inputs
from harness import REPO, run

# Where buildah's RUN steps find the certificates of SSL_CERT_FILE; Karman lends them by itself.
CA_INSIDE = "/run/bench-ca.pem"
LOCAL = {"tools": "images/tools", "constraints": "constraints", "patches": "patches",
         "fleet-patches": "patches"}


def default(name):
    """The default of a variable of the bake file."""
    with open(os.path.join(REPO, "docker-bake.hcl")) as f:
        return re.search(r'variable "%s" \{\s*default\s*= "?([^"\n]*)' % name, f.read()).group(1)


class Catalogue:
    """Builds images of the catalogue in a store of buildah; `steps` are the samples by step."""

    def __init__(self, tool, place, policies=None, options=inputs.SLIM):
        """`policies` are values of variables of the bake file in place of their defaults, `options` those of mmdebstrap."""
        self.tool, self.place, self.options = tool, place, options
        self.policies = policies or {}
        self.steps = {}
        bundle = os.environ.get("SSL_CERT_FILE")
        self.lent = ["-v", bundle + ":" + CA_INSIDE + ":ro", "--env", "SSL_CERT_FILE=" + CA_INSIDE] \
            if bundle else []
        self.series = ["--build-arg", self.value("SERIES")]

    def value(self, name):
        return "%s=%s" % (name, self.policies.get(name, default(name)))

    def rootfs(self):
        """What everything stands on, by mmdebstrap."""
        rootfs = os.path.join(self.place, "base.tar")
        self.steps["mmdebstrap"] = run(["mmdebstrap", "--variant=minbase", *self.options, inputs.SUITE, rootfs],
                                       self.tool.log, self.tool.env)
        context = os.path.join(self.place, "base")
        os.mkdir(context)
        os.rename(rootfs, os.path.join(context, "base.tar"))
        for name, text in (("docker-clean", inputs.APT_CLEAN), ("Dockerfile", inputs.FLEET_BASE)):
            with open(os.path.join(context, name), "w") as f:
                f.write(text)
        self.steps["base"] = self.tool.build("-t", "localhost/base", context)

    def image(self, name, contexts, *arguments, directory=None):
        """Builds `images/name`; contexts are images that were built before, or directories."""
        source = os.path.join(REPO, "images", directory or name)
        with open(os.path.join(source, "Dockerfile")) as f:
            rewritten = inputs.for_buildah(f.read())
        target = os.path.join(self.place, name + ".Dockerfile")
        with open(target, "w") as f:
            f.write(rewritten)
        named = []
        for context in ["tools", *contexts]:
            what, _, of = context.partition("=")
            where = os.path.join(REPO, LOCAL[what]) if what in LOCAL \
                else "docker-image://localhost/" + (of or what)
            named += ["--build-context", "%s=%s" % (what, where)]
        # An OCI config has no place for ONBUILD.
        self.steps[name] = self.tool.build("--format", "docker", "-t", "localhost/" + name, "-f", target,
                                           *named, *arguments, source)

    def bases(self):
        """Everything below the services, in the order of the contexts."""
        self.rootfs()
        self.image("fleet-base", ["rootfs=base"], "--build-arg", self.value("DPKG_EXCLUDE"), *self.lent,
                   directory="base")
        self.image("python-base", ["base=fleet-base"], *self.lent)
        self.image("series", ["python-base", "constraints"], "--target", "series", *self.series,
                   directory="openstack-venv-builder")
        self.image("openstack-venv-builder", ["python-base", "constraints"], *self.series, *self.lent)
        self.image("openstack-python-runtime", ["base=python-base"], directory="openstack-runtime")

    def service(self, service):
        policies = [x for n in ("SLIM", "BYTECODE", "FREEZE_IMPORTS") for x in ("--build-arg", self.value(n))]
        self.image(service, ["openstack-venv-builder", "openstack-python-runtime", "series", "patches",
                             "fleet-patches", "base=fleet-base"],
                   "--build-arg", "PROJECT=" + service, *self.series, *policies, *self.lent)

    def push(self, service, name=None):
        """Writes a service's image to an OCI archive; its path."""
        archive = os.path.join(self.place, (name or service) + ".tar")
        self.steps["push " + (name or service)] = self.tool.push("localhost/" + service, archive)
        return archive


def fleet_with_buildah(tool, place, services):
    """Builds services with everything below them; samples by step."""
    catalogue = Catalogue(tool, place)
    catalogue.bases()
    for service in services:
        catalogue.service(service)
    for service in services:
        catalogue.push(service)
    return catalogue.steps
