//! Random bytes of the kernel.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::failure::{Done, Failure};

/// As many as asked for; the kernel may give fewer at a time.
pub(crate) fn random<const N: usize>() -> Done<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let got = getrandom(&mut bytes[filled..], GetRandomFlags::empty());
        filled += got.map_err(|e| Failure::host("read random bytes", e))?;
    }
    Ok(bytes)
}
