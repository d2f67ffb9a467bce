//! Decompression by magic number.

use std::io::{self, BufRead, BufReader, Read};

const BUFFER: usize = 128 * 1024;
const MAGIC: usize = 6;

/// The largest window (2^27 = 128 MiB) a zstd or xz stream may ask memory for.
const ZSTD_WINDOW_LOG: u32 = 27;
const XZ_MEMORY: u64 = 256 << 20;

/// A stream whose compression cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The first bytes could not be read.
    #[error("read the first bytes")]
    Read(#[source] io::Error),
    /// The decoder could not be made.
    #[error("start {0:?} decoder")]
    Start(Format, #[source] io::Error),
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not compressed, as far as the first bytes tell.
    Plain,
    /// gzip, one member or several.
    Gzip,
    /// Zstandard, one frame or several.
    Zstd,
    /// bzip2, one stream or several.
    Bzip2,
    /// xz.
    Xz,
}

impl Format {
    /// The format that a stream beginning so has.
    #[must_use]
    pub fn sniff(head: &[u8]) -> Self {
        let skippable = |h: &[u8; 4]| h[0] & 0xf0 == 0x50 && h[1..] == [0x2a, 0x4d, 0x18];
        if head.starts_with(&[0x1f, 0x8b, 8]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || head.first_chunk().is_some_and(skippable)
        {
            Self::Zstd
        } else if head.starts_with(b"BZh") {
            Self::Bzip2
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else {
            Self::Plain
        }
    }
}

/// The decompressed bytes of `input`, whatever its compression.
///
/// # Errors
/// When the first bytes cannot be read. Broken data is an error of the returned reader.
pub fn decompress<'a, R: Read + Send + 'a>(
    input: R,
) -> Result<Box<dyn Read + Send + 'a>, DecompressError> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut head = Vec::with_capacity(MAGIC);
    input.by_ref().take(MAGIC as u64).read_to_end(&mut head).map_err(DecompressError::Read)?;
    let format = Format::sniff(&head);
    let input = io::Cursor::new(head).chain(input);
    decoder(format, input).map_err(|source| DecompressError::Start(format, source))
}

fn decoder<'a>(
    format: Format,
    input: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match format {
        Format::Plain => Box::new(input),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags);
            let stream = stream.map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
    })
}
