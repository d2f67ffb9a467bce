//! Network addresses: `cidrhost`, `cidrnetmask`, `cidrsubnet`, `cidrsubnets`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Args, Fault, Out, fault};
use crate::value::Value;

/// A network: its base address and prefix length.
#[derive(Clone, Copy)]
struct Net {
    base: u128,
    length: u32,
    /// 32 or 128.
    width: u32,
}

impl Net {
    fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || Fault(format!("`{text}` is not a network in CIDR notation"));
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u32 = length.parse().map_err(|_| wrong())?;
        let (bits, width) = match address {
            IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
            IpAddr::V6(a) => (u128::from(a), 128),
        };
        if length > width {
            return Err(wrong());
        }
        Ok(Self { base: bits & mask(length, width), length, width })
    }

    fn address(self, bits: u128) -> String {
        match self.width {
            32 => Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX)).to_string(),
            _ => Ipv6Addr::from(bits).to_string(),
        }
    }

    /// The `index`th network with `more` bits of prefix.
    fn subnet(self, more: i128, index: i128) -> Result<Self, Fault> {
        let length = u32::try_from(more).ok().and_then(|n| n.checked_add(self.length));
        let Some(length) = length.filter(|l| *l <= self.width) else {
            return fault(format!("a /{} has no room for {more} more bits", self.length));
        };
        let bits = length - self.length;
        let fits = u128::try_from(index).ok().filter(|i| bits == 128 || *i < 1 << bits);
        let Some(index) = fits else {
            return fault(format!("network {index} does not fit in {bits} bits"));
        };
        let shift = self.width - length;
        let offset = if shift == 128 { 0 } else { index << shift };
        Ok(Self { base: self.base | offset, length, width: self.width })
    }

    fn text(self) -> String {
        format!("{}/{}", self.address(self.base), self.length)
    }
}

fn mask(length: u32, width: u32) -> u128 {
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    match width - length {
        128 => 0,
        shift => (all >> shift) << shift,
    }
}

pub(super) fn host(a: Args) -> Out {
    let net = Net::parse(&a.text(0)?)?;
    let number = a.int(1)?;
    let bits = net.width - net.length;
    let size = if bits == 128 { u128::MAX } else { 1u128 << bits };
    let offset = if number < 0 {
        size.checked_sub(number.unsigned_abs())
    } else {
        Some(number.unsigned_abs()).filter(|n| *n < size)
    };
    match offset {
        Some(offset) => Ok(Value::text(net.address(net.base | offset))),
        None => fault(format!("host {number} does not fit in a /{}", net.length)),
    }
}

pub(super) fn netmask(a: Args) -> Out {
    let net = Net::parse(&a.text(0)?)?;
    Ok(Value::text(net.address(mask(net.length, net.width))))
}

pub(super) fn subnet(a: Args) -> Out {
    Ok(Value::text(Net::parse(&a.text(0)?)?.subnet(a.int(1)?, a.int(2)?)?.text()))
}

/// Consecutive networks, each with its own number of additional bits.
pub(super) fn subnets(a: Args) -> Out {
    let net = Net::parse(&a.text(0)?)?;
    let mut next = net.base;
    let mut out = Vec::new();
    for i in 1..a.len() {
        let first = net.subnet(a.int(i)?, 0)?;
        let shift = first.width - first.length;
        let size = if shift == 128 { 0 } else { 1u128 << shift };
        // Aligned to its own size, after all networks before it.
        let base = if size == 0 { net.base } else { next.div_ceil(size) * size };
        if base & mask(net.length, net.width) != net.base {
            return fault("the networks do not all fit");
        }
        out.push(Value::text(Net { base, ..first }.text()));
        next = base.saturating_add(size);
    }
    Ok(Value::List(out))
}
