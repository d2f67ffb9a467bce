# The fleet. `karman bake nova` builds one image, `karman bake` the default group.
#
# Base → python-base → openstack-venv-builder (compiles) / openstack-python-runtime (flies).
# A service image is built on the first and ships on the second: only /var/lib/openstack crosses.

variable "BASE" {
  default     = "debootstrap://debian/trixie"
  description = "Where the root filesystem comes from; a registry works too: docker-image://ubuntu:24.04"
}

variable "SERIES" {
  default     = "2026.1"
  description = "OpenStack series; names the directory of the constraints"
}

variable "PREFIX" {
  default     = ""
  description = "Put before every image name, such as registry.example.org/openstack/"
}

variable "TAG" {
  default     = "latest"
  description = "Tag of every image"
}

variable "UV_CACHE_ID" {
  default     = "uv-cache"
  description = "Name of uv's cache mount; one for each base that differs in its Python"
}

group "default" {
  targets = ["keystone", "nova"]
}

target "python-base" {
  context  = "images/python-base"
  contexts = { base = BASE }
  tags     = ["${PREFIX}python-base:${TAG}"]
}

# The tools alone, before any Python package is installed: `karman constraints lock` resolves in it.
target "constraints-resolver" {
  context  = "images/openstack-venv-builder"
  contexts = { python-base = "target:python-base" }
  target   = "tools"
}

target "openstack-venv-builder" {
  context = "images/openstack-venv-builder"
  contexts = {
    python-base = "target:python-base"
    constraints = "constraints/${SERIES}"
  }
  args = { UV_CACHE_ID = UV_CACHE_ID }
  tags = ["${PREFIX}openstack-venv-builder:${TAG}"]
}

target "openstack-python-runtime" {
  context  = "images/openstack-python-runtime"
  contexts = { python-base = "target:python-base" }
  tags     = ["${PREFIX}openstack-python-runtime:${TAG}"]
}

target "service" {
  contexts = {
    openstack-venv-builder   = "target:openstack-venv-builder"
    openstack-python-runtime = "target:openstack-python-runtime"
  }
  args = { UV_CACHE_ID = UV_CACHE_ID }
}

target "keystone" {
  inherits = ["service"]
  context  = "images/keystone"
  args     = { PROJECT = "keystone" }
  tags     = ["${PREFIX}keystone:${TAG}"]
}

target "nova" {
  inherits = ["service"]
  context  = "images/nova"
  args     = { PROJECT = "nova" }
  tags     = ["${PREFIX}nova:${TAG}"]
}
