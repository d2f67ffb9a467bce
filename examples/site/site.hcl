# What a site changes, without touching the fleet's own file:
# karman bake -f docker-bake.hcl -f examples/site/site.hcl nova

variable "PREFIX" {
  default = "registry.example.org/openstack/"
}

# A CA for all images: an image of our own between the fleet's base and everything above it.
variable "IMAGE_BASE" {
  default = "target:site-base"
}

target "site-base" {
  context  = "examples/site/base"
  contexts = { base = "target:base" }
}

# Our patches beside the fleet's.
variable "PATCHES" {
  default = "examples/site/patches"
}

# For every image.
variable "EXTRA_PACKAGES" {
  default = "iputils-ping"
}

# For one image: packages of Debian, and Python packages under the constraints of the series.
target "nova" {
  args = {
    EXTRA_PACKAGES = "iputils-ping tcpdump"
    EXTRA_PYTHON   = "etcd3gw"
  }
}

target "placement" {
  args = { EXTRA_PYTHON = "osprofiler" }
}

# Magnum with helm, under Magnum's name: build this one, and `magnum` is built for it and not kept.
target "magnum-with-helm" {
  context  = "examples/site/magnum"
  contexts = { magnum = "target:magnum" }
  tags     = ["${PREFIX}magnum:${TAG}"]
  output   = [OUTPUT]
}
