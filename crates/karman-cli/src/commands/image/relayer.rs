//! `karman image relayer`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use karman_control::{Export, Layering, OutputKind, PackageLayers, Push};
use karman_oci::{Digest, Reference};
use karman_report::human_size;
use karman_worker::{ImageSpec, Relayer, RelayeredImage};

use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::flags::parse_output;
use crate::image_spec::{PlatformArg, parse};
use crate::layers::{Format, print};
use crate::out;
use crate::setup::Context;

/// Endings of archives of layouts.
const ARCHIVES: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or digests in the local store, paths of OCI layouts, oci-layout://PATH[:TAG] or docker-image://REF
    #[arg(required = true, value_name = "REF")]
    images: Vec<String>,
    /// Where they go, all to one place: type=oci, docker, image or registry, with layer-budget= and layer-plan=
    #[arg(short, long, value_name = "SPEC", default_value = "type=image")]
    output: String,
    /// Put before the last part of every name, such as registry.example.org/openstack/
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Print the layers as a table or as the plan in JSON
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "table", value_name = "FORMAT")]
    print_layers: Option<Format>,
    #[command(flatten)]
    platform: PlatformArg,
}

/// Relayers images.
pub(super) fn run(args: &Args, context: &Context) -> Done {
    let export = export(&args.output, context)?;
    let mut images: Vec<(ImageSpec, Vec<Reference>)> = Vec::new();
    for text in &args.images {
        let spec = parse(text, &context.env);
        let name = name(&spec, args.prefix.as_deref())?;
        if export.push != Push::No && name.is_none() {
            return Err(Failure::usage(format!("`{text}` has no name to be pushed under")));
        }
        images.push((spec, name.into_iter().collect()));
    }
    told_apart(&images)?;
    let engine = context.open(false)?;
    let session = context.session();
    let platform = args.platform.get();
    let wanted = Relayer { images: &images, platform: &platform, export: &export, epoch: None };
    let on_layer = |name: &str, done: usize, total: usize| {
        if done == total {
            out::note(&format!("{name}: {total} layers\n"));
        }
    };
    let made = watched(&engine, || {}, || engine.relayer(&wanted, &session, &on_layer))??;
    if let Some(format) = args.print_layers {
        out::data(&print(&made.plan, format))?;
    } else if export.dest.is_some() || export.kind == OutputKind::Image {
        let line = |one: &RelayeredImage| format!("{} {}\n", one.name, one.descriptor.digest);
        out::data(&made.images.iter().map(line).collect::<String>())?;
    }
    let size = |blobs: fn(&RelayeredImage) -> &BTreeMap<Digest, u64>| -> u64 {
        let all: BTreeMap<&Digest, &u64> = made.images.iter().flat_map(blobs).collect();
        all.into_values().sum()
    };
    let (before, after) = (human_size(size(|i| &i.before)), human_size(size(|i| &i.after)));
    out::note(&format!("different layers of all images: {before} before, {after} now\n"));
    Ok(0)
}

fn export(text: &str, context: &Context) -> Done<Export> {
    let mut export = parse_output(&with_layering(text))?;
    if !matches!(export.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image) {
        return Err(Failure::usage_hint(
            format!("`{text}` is no output of images"),
            "want type=oci, docker, image or registry",
        ));
    }
    let has_place = export.dest.is_some() || export.archive;
    if export.kind != OutputKind::Image && !has_place {
        return Err(Failure::usage("`tar=false` needs `dest=`"));
    }
    if export.layering == Layering::Steps {
        export.layering = Layering::Packages(PackageLayers::default());
    }
    let in_cwd = |path: &mut std::path::PathBuf| *path = context.env.absolute(path);
    export.dest.as_mut().map(in_cwd);
    if let Layering::Packages(PackageLayers { plan: Some(plan), .. }) = &mut export.layering {
        in_cwd(plan);
    }
    Ok(export)
}

/// The attributes of layers along packages need not be told what they are of: nothing else is made here.
fn with_layering(text: &str) -> Cow<'_, str> {
    let has = |name: &str| text.split(',').any(|attribute| attribute.starts_with(name));
    match !has("layering=") && (has("layer-budget=") || has("layer-plan=")) {
        true => Cow::Owned(format!("{text},layering=packages")),
        false => Cow::Borrowed(text),
    }
}

/// The name an image gets: its own, or its last part behind a prefix. An image of a layout is named by its tag there,
/// behind the name of the layout.
fn name(spec: &ImageSpec, prefix: Option<&str>) -> Done<Option<Reference>> {
    let own = match spec {
        ImageSpec::Local(name) | ImageSpec::Registry(name) => Reference::parse(name).ok(),
        ImageSpec::Layout { path, wanted, .. } => {
            let tag = wanted.as_deref().filter(|w| !w.starts_with('@')).unwrap_or("latest");
            stem(path).and_then(|stem| Reference::parse(&format!("{stem}:{tag}")).ok())
        }
    };
    let Some(prefix) = prefix else { return Ok(own.map(bare)) };
    let Some(own) = own else { return Ok(None) };
    let familiar = bare(own).familiar();
    let last = familiar.rsplit('/').next().unwrap_or(&familiar);
    let renamed = Reference::parse(&format!("{prefix}{last}"));
    renamed.map(Some).map_err(|e| Failure::usage(e.to_string()))
}

/// The name of a layout's directory, or of its archive without the ending.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let stem = ARCHIVES.iter().find_map(|ending| name.strip_suffix(ending));
    Some(stem.unwrap_or(&name).to_owned())
}

/// Two images under one name would leave one.
fn told_apart(images: &[(ImageSpec, Vec<Reference>)]) -> Done<()> {
    let mut named: BTreeMap<String, &str> = BTreeMap::new();
    for (spec, names) in images {
        for name in names.iter().map(Reference::familiar) {
            let Some(other) = named.insert(name.clone(), spec.name()) else { continue };
            let text = format!("`{other}` and `{}` would both be named `{name}`", spec.name());
            return Err(Failure::usage_hint(
                text,
                "an image of a layout is named after the directory or the archive, and the tag that is asked for",
            ));
        }
    }
    Ok(())
}

/// A name without a digest, which the new image has not.
fn bare(reference: Reference) -> Reference {
    let tag = reference.tag.clone().or_else(|| Some("latest".to_owned()));
    Reference { digest: None, tag, ..reference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_moved() {
        let named =
            |spec: ImageSpec, prefix| name(&spec, prefix).ok().flatten().map(|r| r.familiar());
        let local = || ImageSpec::Local("registry.example:5000/a/nova:1".to_owned());
        assert_eq!(named(local(), None).as_deref(), Some("registry.example:5000/a/nova:1"));
        assert_eq!(
            named(local(), Some("b.example/slim/")).as_deref(),
            Some("b.example/slim/nova:1")
        );
        let layout = ImageSpec::Layout {
            name: "x".to_owned(),
            path: "/srv/Images.tar".into(),
            wanted: Some("v2".to_owned()),
        };
        assert_eq!(named(layout, None).as_deref(), Some("images:v2"));
        assert!(name(&local(), Some("site/UPPER/")).is_err());
        for (path, wanted) in [("/a/nova-2026.1", "nova-2026.1"), ("/a/X.tar.gz", "x")] {
            assert_eq!(stem(Path::new(path)).as_deref(), Some(wanted));
        }
        assert_eq!(stem(Path::new("/")), None);
    }
}
