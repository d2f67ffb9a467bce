//! Writing outputs.

use std::io::Write;
use std::path::Path;

use karman_content::StoreError;
use karman_control::{Cause, CompressionKind, Export, Loader, OutputKind, SolveError};
use karman_exporter::TimePolicy;
use karman_exporter::export::{
    ArchiveKind, ExportError, Named, Rootfs, export_local, export_tar, write_archive, write_file,
    write_layout,
};
use karman_exporter::unpack::Ownership;
use karman_oci::Manifest;
use karman_sys::fs::Dir;
use karman_sys::program::Program;

use super::blobs::kind_of;
use super::{Prepared, Stoppable};
use crate::engine::Engine;
use crate::error::{OrFail as _, interrupted, store as store_error};
use crate::images::read_document;
use crate::layers::{Windows, windows_of};
use crate::solve::Scene;
use crate::sources::discard_damaged;

/// Makes one prepared output appear.
pub(super) fn write(scene: &Scene<'_>, one: &Prepared<'_>, epoch: i64) -> Result<(), SolveError> {
    if scene.engine.interrupted() {
        return Err(interrupted());
    }
    match one.export.kind {
        OutputKind::CacheOnly => Ok(()),
        OutputKind::Image => tag(scene, one),
        OutputKind::Oci | OutputKind::Docker => archive(scene, one),
        OutputKind::Local | OutputKind::Tar => files(scene, one, epoch),
    }
}

fn tag(scene: &Scene<'_>, one: &Prepared<'_>) -> Result<(), SolveError> {
    let Some(top) = &one.top else { unreachable!("images have a descriptor") };
    one.names.iter().try_for_each(|name| scene.engine.tag_image(name, top))
}

fn archive(scene: &Scene<'_>, one: &Prepared<'_>) -> Result<(), SolveError> {
    let Some(top) = &one.top else { unreachable!("images have a descriptor") };
    let images = [Named { top, names: &one.names }];
    if let Some(loader) = one.export.load {
        return load(scene, &images, loader);
    }
    let doing = format!("write the output of `{}`", one.target.name);
    write_images(scene.engine, &images, one.export, &doing)
}

/// Writes images to the archive or layout of an output.
pub(crate) fn write_images(
    engine: &Engine,
    images: &[Named<'_>],
    export: &Export,
    doing: &str,
) -> Result<(), SolveError> {
    let store = engine.store();
    let kind = match export.kind {
        OutputKind::Docker => ArchiveKind::Docker,
        _ => ArchiveKind::Oci,
    };
    let archive =
        |out: &mut dyn Write| write_archive(store, images, kind, &mut Stoppable::new(engine, out));
    let done = match (&export.dest, export.archive) {
        (Some(dest), true) => write_file(dest, archive),
        (Some(dest), false) => write_layout(store, images, dest),
        (None, true) => to_stdout(archive),
        (None, false) => {
            return Err(SolveError::new(Cause::Input, "`tar=false` needs `dest=`"));
        }
    };
    if let Err(ExportError::Blob { digest, .. }) = &done
        && discard_damaged(store, digest)?
    {
        engine.forget_layer_of(digest)?;
        return Err(store_error(StoreError::Corrupt(*digest)));
    }
    done.or_fail(Cause::Engine, doing)
}

/// Brings images to another program's store, through its standard input.
fn load(scene: &Scene<'_>, images: &[Named<'_>], loader: Loader) -> Result<(), SolveError> {
    let name = loader.program();
    if loader == Loader::Podman && ownership() != Ownership::Exact {
        // It would take its root's store for its own.
        let message = "podman cannot be called from inside of the user namespace of a build";
        return Err(SolveError::new(Cause::Host, message)
            .with_hint("write `-o type=docker,dest=FILE`, then `podman load -i FILE`"));
    }
    let store = scene.engine.store();
    let program = Program::new(name).arg("load").env_all(&scene.engine.config().commands.env);
    let write = |pipe: &mut dyn Write| write_archive(store, images, ArchiveKind::Docker, pipe);
    let (output, written) = match program.output_fed(write) {
        Ok(ended) => ended,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SolveError::new(Cause::Host, format!("`{name}` is not installed"))
                .with_hint("write `-o type=docker,dest=FILE` and load the file elsewhere"));
        }
        Err(error) => return Err(error).or_fail(Cause::Host, &format!("run `{name} load`")),
    };
    if !output.success {
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason");
        let message = format!("`{name} load` failed: {}", told.trim());
        let error = SolveError::new(Cause::Host, message);
        return Err(match loader == Loader::Docker && has_zstd(scene.engine, images) {
            true => error.with_hint(
                "docker before version 23 does not read zstd: say `compression=gzip,force-compression=true`",
            ),
            false => error,
        });
    }
    written.unwrap_or(Ok(())).or_fail(Cause::Engine, &format!("write to `{name} load`"))
}

/// Whether some layer is in zstd; what cannot be read is not.
fn has_zstd(engine: &Engine, images: &[Named<'_>]) -> bool {
    let manifest = |image: &Named<'_>| read_document::<Manifest>(engine.store(), &image.top.digest);
    let layers = images.iter().filter_map(|image| manifest(image).ok()).flat_map(|m| m.layers);
    layers.into_iter().any(|layer| kind_of(&layer.media_type) == Some(CompressionKind::Zstd))
}

fn files(scene: &Scene<'_>, one: &Prepared<'_>, epoch: i64) -> Result<(), SolveError> {
    let snapshots = scene.engine.snapshots();
    let mut trees: Vec<Vec<Dir>> = Vec::new();
    let mut windows = Windows::default();
    for chain in &one.chains {
        windows.add(&windows_of(snapshots, chain)?);
        let lowers = snapshots.lowers(chain).or_fail(Cause::Store, "open the layers")?;
        let dirs: Result<Vec<Dir>, _> = lowers.iter().map(Dir::open).collect();
        trees.push(dirs.or_fail(Cause::Store, "open the layers")?);
    }
    let layers: Vec<Vec<&Dir>> = trees.iter().map(|t| t.iter().collect()).collect();
    let images = one.target.images.iter().zip(&layers);
    let systems: Vec<Rootfs<'_>> =
        images.map(|(image, layers)| Rootfs { platform: &image.platform, layers }).collect();
    let doing = format!("write the output of `{}`", one.target.name);
    let is_split = one.export.platform_split.unwrap_or(one.target.is_index);
    if one.export.kind == OutputKind::Local {
        let Some(dest) = &one.export.dest else {
            return Err(SolveError::new(Cause::Input, "output type `local` needs `dest=`"));
        };
        return export_local(&systems, is_split, dest, ownership())
            .map(drop)
            .or_fail(Cause::Engine, &doing);
    }
    let clamp_later = one.export.rewrite_timestamp;
    let times = TimePolicy { epoch, windows: windows.pairs(), clamp_later };
    let archive = |out: &mut dyn Write| {
        export_tar(&systems, is_split, times, &mut Stoppable::new(scene.engine, out))
    };
    let done = match &one.export.dest {
        Some(dest) => write_file(dest, archive),
        None => to_stdout(archive),
    };
    done.or_fail(Cause::Engine, &doing)
}

/// Root keeps the owners of files; anybody else gets files of his own, as with docker's client.
fn ownership() -> Ownership {
    let map = std::fs::read_to_string(Path::new("/proc/self/uid_map")).unwrap_or_default();
    let mut numbers = map.split_whitespace();
    let whole = (numbers.next(), numbers.next(), numbers.next());
    if whole == (Some("0"), Some("0"), Some("4294967295")) {
        Ownership::Exact
    } else {
        Ownership::Process
    }
}

/// `dest=-`: the caller asked for data on standard output.
fn to_stdout(
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut out = std::io::stdout().lock();
    write(&mut out)?;
    out.flush().map_err(ExportError::Stream)
}
