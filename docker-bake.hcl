# The fleet. `karman bake nova` builds one image, `karman bake` all of them.
#
# rootfs → base → python-base → openstack-venv-builder (compiles) / openstack-python-runtime (flies).
# A service image is built on the first and ships on the second: only /var/lib/openstack crosses.
# What an image installs: its Python in constraints/<series>.toml, its Debian packages in
# images/<name>/Dockerfile. Everything else that images share is in the two bases, as triggers.
# docs/fleet.md explains the policies, docs/customise.md what a site changes without touching this file.

variable "BASE" {
  default     = "debootstrap://debian/trixie"
  description = "Where the root filesystem comes from; a registry works too: docker-image://debian:trixie"
}

variable "SERIES" {
  default     = "2026.1"
  description = "OpenStack series; names the constraints"
}

variable "PREFIX" {
  default     = ""
  description = "Put before every image name, such as registry.example.org/openstack/"
}

variable "TAG" {
  default     = "latest"
  description = "Tag of every image"
}

variable "LAYER_PLAN" {
  default     = "images/layers.json"
  description = "Which units are in one layer (docs/layering.md); empty to plan the images of one bake together"
}

variable "OUTPUT" {
  default     = "type=image,layering=packages,layer-plan=${LAYER_PLAN}"
  description = "Where images go and how their layers are cut"
}

variable "UV_CACHE_ID" {
  default     = "uv-cache"
  description = "Name of uv's cache mount; one for each base that differs in its Python"
}

variable "BYTECODE" {
  default     = "unchecked-hash"
  description = "Bytecode in the images: unchecked-hash, checked-hash or none"
  validation {
    condition     = contains(["unchecked-hash", "checked-hash", "none"], BYTECODE)
    error_message = "BYTECODE is unchecked-hash, checked-hash or none, not `${BYTECODE}`"
  }
}

variable "FREEZE_IMPORTS" {
  default     = true
  description = "Whether Python's garbage collector leaves out what a program imports first, so that it starts and ends faster"
}

variable "SLIM" {
  default     = "tests stubs docs locales sources duplicates"
  description = "What is taken out of virtual environments; empty for nothing"
  validation {
    condition     = length(setsubtract(compact(split(" ", SLIM)), ["tests", "stubs", "docs", "locales", "sources", "duplicates"])) == 0
    error_message = "SLIM is any of: tests stubs docs locales sources duplicates; not `${SLIM}`"
  }
}

variable "DPKG_EXCLUDE" {
  default     = "/usr/share/doc/* /usr/share/info/* /usr/share/man/* /usr/share/locale/* /usr/share/bash-completion/* /usr/share/zsh/* /usr/share/lintian/* /usr/lib/udev/hwdb.d/* /usr/bin/cephfs-* /usr/bin/radosgw-admin /usr/include/* /usr/*.h /usr/*.la"
  description = "What dpkg leaves out of the packages it installs; empty for nothing"
}

variable "EXTRA_PACKAGES" {
  default     = ""
  description = "Debian packages for every service image"
}

variable "EXTRA_PYTHON" {
  default     = ""
  description = "Python packages for every virtual environment"
}

variable "CONSTRAINTS" {
  default     = "constraints"
  description = "Directory with the series"
}

variable "PATCHES" {
  default     = "patches"
  description = "Directory with patches of a site beside the fleet's own, one directory for each project"
}

variable "IMAGE_BASE" {
  default     = "target:base"
  description = "What python-base and the runtimes stand on; a site puts an image of its own in between"
}

group "default" {
  targets = ["control-plane", "compute", "network", "clients"]
}

group "control-plane" {
  targets = [
    "barbican", "cinder", "designate", "glance", "heat", "horizon", "ironic", "keystone",
    "magnum", "manila", "neutron", "nova", "octavia", "placement",
  ]
}

group "compute" {
  targets = ["nova", "nova-ssh", "libvirtd", "openvswitch", "ovn", "neutron"]
}

group "network" {
  targets = ["neutron", "ovn-bgp-agent", "openvswitch", "ovn", "keepalived"]
}

group "clients" {
  targets = ["python-openstackclient", "tempest"]
}

# What every Dockerfile of the fleet may use.
target "common" {
  contexts = { tools = "images/tools" }
}

target "base" {
  inherits = ["common"]
  context  = "images/base"
  contexts = { rootfs = BASE }
  args     = { DPKG_EXCLUDE = DPKG_EXCLUDE }
  tags     = ["${PREFIX}base:${TAG}"]
}

target "python-base" {
  inherits = ["common"]
  context  = "images/python-base"
  contexts = { base = IMAGE_BASE }
  tags     = ["${PREFIX}python-base:${TAG}"]
}

target "venv-builder" {
  inherits = ["common"]
  context  = "images/openstack-venv-builder"
  contexts = {
    python-base = "target:python-base"
    constraints = CONSTRAINTS
  }
}

# The tools alone, before any Python package is installed: `karman constraints lock` resolves in it.
target "constraints-resolver" {
  inherits = ["venv-builder"]
  target   = "compilers"
}

# The series, one directory for each image.
target "series" {
  inherits = ["venv-builder"]
  target   = "series"
  args     = { SERIES = SERIES }
}

target "openstack-venv-builder" {
  inherits = ["venv-builder"]
  args     = { SERIES = SERIES, UV_CACHE_ID = UV_CACHE_ID }
  tags     = ["${PREFIX}openstack-venv-builder:${TAG}"]
}

target "openstack-runtime" {
  inherits = ["common"]
  context  = "images/openstack-runtime"
  contexts = { base = IMAGE_BASE }
  tags     = ["${PREFIX}openstack-runtime:${TAG}"]
}

target "openstack-python-runtime" {
  inherits = ["common"]
  context  = "images/openstack-runtime"
  contexts = { base = "target:python-base" }
  tags     = ["${PREFIX}openstack-python-runtime:${TAG}"]
}

# Images with a virtual environment.
target "service" {
  name = name
  matrix = {
    name = [
      "barbican", "cinder", "designate", "glance", "heat", "horizon", "ironic", "keystone", "magnum", "manila", "neutron",
      "nova", "octavia", "ovn-bgp-agent", "placement", "python-openstackclient", "tempest",
    ]
  }
  inherits = ["common"]
  context  = "images/${name}"
  contexts = {
    series                   = "target:series"
    fleet-patches            = "patches"
    patches                  = PATCHES
    base                     = IMAGE_BASE
    python-base              = "target:python-base"
    openstack-venv-builder   = "target:openstack-venv-builder"
    openstack-python-runtime = "target:openstack-python-runtime"
  }
  args = {
    PROJECT        = name
    SERIES         = SERIES
    UV_CACHE_ID    = UV_CACHE_ID
    BYTECODE       = BYTECODE
    FREEZE_IMPORTS = FREEZE_IMPORTS
    SLIM           = SLIM
    EXTRA_PACKAGES = EXTRA_PACKAGES
    EXTRA_PYTHON   = EXTRA_PYTHON
  }
  tags   = ["${PREFIX}${name}:${TAG}"]
  output = [OUTPUT]
}

target "keepalived" {
  inherits = ["common"]
  context  = "images/keepalived"
  contexts = { base = IMAGE_BASE }
  args     = { EXTRA_PACKAGES = EXTRA_PACKAGES }
  tags     = ["${PREFIX}keepalived:${TAG}"]
  output   = [OUTPUT]
}

# Images without Python of their own, and whose user they have.
target "system" {
  name = item.name
  matrix = {
    item = [
      { name = "libvirtd", project = "nova" },
      { name = "nova-ssh", project = "nova" },
      { name = "openvswitch", project = "openvswitch" },
      { name = "ovn", project = "openvswitch" },
    ]
  }
  inherits = ["common"]
  context  = "images/${item.name}"
  contexts = { openstack-runtime = "target:openstack-runtime" }
  args     = { PROJECT = item.project, EXTRA_PACKAGES = EXTRA_PACKAGES }
  tags     = ["${PREFIX}${item.name}:${TAG}"]
  output   = [OUTPUT]
}
