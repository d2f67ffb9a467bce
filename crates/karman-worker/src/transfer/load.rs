//! Images of archives and directories into the local store, whatever program wrote them.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use karman_content::TempDir;
use karman_control::{Cause, SolveError};
use karman_exporter::decompress::{Format, decompress};
use karman_exporter::export::IMAGE_NAME;
use karman_exporter::layout::{Layout, LayoutError};
use karman_oci::{Descriptor, Reference};

use crate::engine::Engine;
use crate::error::{OrFail as _, chain, failed, interrupted_while, store as store_error};

/// The most bytes of an archive out of its compression: as much as a layer may have.
const MAX_ARCHIVE: u64 = 64 << 30;

/// What to do about an archive that does not come to its end.
const AGAIN: &str = "write or copy it again";

const BUFFER: usize = 128 << 10;

/// The bytes by which compressions are known.
const MAGIC: u64 = 6;

/// An image that is in the local store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its manifest or index.
    pub top: Descriptor,
    /// Its name, where it has one.
    pub name: Option<Reference>,
}

/// Where an archive comes from.
pub enum LoadFrom<'a> {
    /// A file or directory.
    Path(&'a Path),
    /// A stream.
    Stream(&'a mut (dyn Read + Send)),
}

impl Engine {
    /// Brings the images of an OCI layout (directory or archive), a docker archive or a directory of
    /// `skopeo copy dir:` into the local store, every blob verified, under their names. An archive may
    /// be compressed. An only image without a name gets `name`.
    ///
    /// # Errors
    /// When it is no such thing, or not complete.
    pub fn load_images(
        &self,
        from: LoadFrom<'_>,
        name: Option<&Reference>,
    ) -> Result<Vec<Loaded>, SolveError> {
        self.keep_uses()?;
        let doing = match &from {
            LoadFrom::Path(path) => format!("load `{}`", path.display()),
            LoadFrom::Stream(_) => "load standard input".to_owned(),
        };
        let (path, _spooled) = self.plain_archive(from, &doing)?;
        let wrong = |error: LayoutError| {
            let told =
                failed(Cause::Input, format!("failed to {doing}: {}", chain(&error)), &error);
            match error.hint().filter(|_| told.cause == Cause::Input) {
                Some(hint) => told.with_hint(hint),
                None => told,
            }
        };
        let layout = Layout::open(&path).map_err(wrong)?;
        if layout.images().is_empty() {
            let message = format!("failed to {doing}: there is no image in it");
            return Err(SolveError::new(Cause::Input, message));
        }
        let mut loaded = Vec::new();
        for top in layout.images() {
            layout.import(top, self.store()).map_err(wrong)?;
            let own = top.annotations.get(IMAGE_NAME).and_then(|text| Reference::parse(text).ok());
            let name = own.or_else(|| name.filter(|_| layout.images().len() == 1).cloned());
            let top = Descriptor::new(top.media_type.clone(), top.digest, top.size);
            if let Some(name) = &name {
                self.tag_image(name, &top)?;
            }
            loaded.push(Loaded { top, name });
        }
        Ok(loaded)
    }

    /// An archive that can be read at any place: a stream and a compressed file are written to the store's
    /// file system first.
    fn plain_archive(
        &self,
        from: LoadFrom<'_>,
        doing: &str,
    ) -> Result<(PathBuf, Option<TempDir>), SolveError> {
        let mut file;
        let input: &mut (dyn Read + Send) = match from {
            LoadFrom::Path(path) => {
                let found = path.metadata().or_fail(Cause::Input, doing)?;
                if found.is_dir()
                    || found.is_file() && !is_compressed(path).or_fail(Cause::Input, doing)?
                {
                    return Ok((path.to_owned(), None));
                }
                file = std::fs::File::open(path).or_fail(Cause::Input, doing)?;
                &mut file
            }
            LoadFrom::Stream(stream) => stream,
        };
        let spool = self.store().temp_dir("load").map_err(store_error)?;
        let path = spool.path().join("archive.tar");
        self.write_plain(input, &path, doing)?;
        Ok((path, Some(spool)))
    }

    /// Writes a stream to a file without its compression.
    fn write_plain(
        &self,
        input: &mut (dyn Read + Send),
        path: &Path,
        doing: &str,
    ) -> Result<(), SolveError> {
        let mut out = std::fs::File::create(path).or_fail(Cause::Store, doing)?;
        let mut plain = decompress(input).or_fail(Cause::Input, doing)?;
        let mut buffer = vec![0; BUFFER];
        let mut size = 0;
        loop {
            if self.interrupted() {
                return Err(interrupted_while("load"));
            }
            let read = match plain.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let message =
                        format!("failed to {doing}: it ends, or is broken, in the middle");
                    let message = format!("{message}: {}", chain(&error));
                    return Err(SolveError::new(Cause::Input, message).with_hint(AGAIN));
                }
                Ok(read) => read,
            };
            size += read as u64;
            if size > MAX_ARCHIVE {
                let message = format!("failed to {doing}: it has more than {MAX_ARCHIVE} bytes");
                return Err(SolveError::new(Cause::Input, message));
            }
            out.write_all(&buffer[..read]).or_fail(Cause::Store, doing)?;
        }
    }
}

/// Whether the first bytes of a file are those of a compression.
fn is_compressed(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(MAGIC).read_to_end(&mut begin)?;
    Ok(Format::sniff(&begin) != Format::Plain)
}
