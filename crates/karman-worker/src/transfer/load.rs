//! Images of archives and directories into the local store, whatever program wrote them.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use karman_content::TempDir;
use karman_control::{Cause, SolveError};
use karman_exporter::decompress::{Format, decompress};
use karman_exporter::export::IMAGE_NAME;
use karman_exporter::layout::Layout;
use karman_oci::{Descriptor, Reference};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

/// The most bytes of an archive out of its compression: as much as a layer may have.
const MAX_ARCHIVE: u64 = 64 << 30;

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
        let (path, _spooled) = self.plain_archive(from)?;
        let doing = format!("load `{}`", path.display());
        let layout = Layout::open(&path).or_fail(Cause::Input, &doing)?;
        let mut loaded = Vec::new();
        for top in layout.images() {
            layout.import(top, self.store()).or_fail(Cause::Input, &doing)?;
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
    fn plain_archive(&self, from: LoadFrom<'_>) -> Result<(PathBuf, Option<TempDir>), SolveError> {
        let doing = "read the archive";
        let mut file;
        let input: &mut (dyn Read + Send) = match from {
            LoadFrom::Path(path) => {
                let failed = format!("load `{}`", path.display());
                if path.is_dir() || !is_compressed(path).or_fail(Cause::Input, &failed)? {
                    return Ok((path.to_owned(), None));
                }
                file = std::fs::File::open(path).or_fail(Cause::Input, &failed)?;
                &mut file
            }
            LoadFrom::Stream(stream) => stream,
        };
        let spool = self.store().temp_dir("load").map_err(store_error)?;
        let path = spool.path().join("archive.tar");
        let mut out = std::fs::File::create(&path).or_fail(Cause::Store, doing)?;
        let plain = decompress(input).or_fail(Cause::Input, doing)?;
        let copied = io::copy(&mut plain.take(MAX_ARCHIVE + 1), &mut out);
        if copied.or_fail(Cause::Input, doing)? > MAX_ARCHIVE {
            let message = format!("the archive has more than {MAX_ARCHIVE} bytes");
            return Err(SolveError::new(Cause::Input, message));
        }
        out.flush().or_fail(Cause::Store, doing)?;
        Ok((path, Some(spool)))
    }
}

/// Whether the first bytes of a file are those of a compression.
fn is_compressed(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(MAGIC).read_to_end(&mut begin)?;
    Ok(Format::sniff(&begin) != Format::Plain)
}
