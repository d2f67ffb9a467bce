//! Readers for the compressions archives use.

use std::io::{BufReader, Read};

use liblzma::stream::Stream;

/// Memory an xz decoder may use: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// By the end of a name: `data.tar.xz`, `Packages.gz`, `data.tar`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.rsplit('.').next() {
            Some("gz") => Some(Self::Gzip),
            Some("xz") => Some(Self::Xz),
            Some("zst") => Some(Self::Zstd),
            Some("tar" | "Packages") => Some(Self::None),
            _ if name.ends_with("Packages") => Some(Self::None),
            _ => None,
        }
    }

    /// A reader of the plain bytes, at most `limit` of them: a longer stream fails.
    pub(crate) fn reader<'a>(
        self,
        bytes: &'a [u8],
        limit: u64,
    ) -> std::io::Result<Box<dyn Read + 'a>> {
        let plain: Box<dyn Read + 'a> = match self {
            Self::None => Box::new(bytes),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(bytes, stream))
            }
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
        };
        let bounded = Bounded { inner: plain, left: limit };
        Ok(Box::new(BufReader::with_capacity(128 << 10, bounded)))
    }
}

/// Fails instead of ending early, so that a bomb cannot pass for a short file.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "decompressed data exceeds its limit",
            )
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_longer_than_its_limit_fails() {
        let bytes = zstd::encode_all(&[0_u8; 100_000][..], 3).expect("compress");
        let read = |limit| {
            let mut out = Vec::new();
            Compression::Zstd
                .reader(&bytes, limit)
                .expect("open")
                .read_to_end(&mut out)
                .map(|_| out.len())
        };
        assert_eq!(read(100_000).expect("fits"), 100_000);
        assert!(read(99_999).is_err());
    }

    #[test]
    fn names_tell_the_compression() {
        assert_eq!(Compression::of("data.tar.zst"), Some(Compression::Zstd));
        assert_eq!(Compression::of("main/binary-amd64/Packages"), Some(Compression::None));
        assert_eq!(Compression::of("data.tar.lz"), None);
    }
}
