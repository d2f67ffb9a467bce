//! Flags that `build` and `bake` share, and the values they take.

use karman_build::{SecretSpec, SshSpec, TargetSpec};
use karman_control::{Export, OutputKind, OutputSpec, Push};
use karman_diag::nearest;

use crate::failure::{Done, Failure};

/// A privilege of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allow {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
    /// `RUN --device` of this name or kind; `*` is all.
    Device(String),
    /// Something that needs no permission here: local files and agents are named by the caller.
    Needless,
}

/// Reads `--allow`.
pub(crate) fn parse_allow(text: &str) -> Result<Allow, String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "network.host" => Ok(Allow::NetworkHost),
        "security.insecure" => Ok(Allow::SecurityInsecure),
        "device" if value.is_empty() => Ok(Allow::Device("*".to_owned())),
        "device" => Ok(Allow::Device(value.to_owned())),
        "fs" | "fs.read" | "fs.write" | "ssh" => Ok(Allow::Needless),
        other => {
            let known =
                ["network.host", "security.insecure", "device", "fs", "fs.read", "fs.write", "ssh"];
            let near =
                nearest(other, known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            Err(format!("unknown privilege `{other}`{near}"))
        }
    }
}

/// Reads `--output`.
pub(crate) fn parse_output(text: &str) -> Done<Export> {
    let mut spec = OutputSpec::parse(text).map_err(|e| Failure::usage(e.to_string()))?;
    let loads = spec.attributes.contains_key("load");
    if spec.kind == OutputKind::Docker && spec.dest.is_none() && !loads {
        // docker's exporter without a place loads the image, which here is the local store.
        spec.kind = OutputKind::Image;
        spec.attributes.entry("oci-mediatypes".to_owned()).or_insert_with(|| "false".to_owned());
    }
    spec.bind().map_err(|e| Failure::usage(e.to_string()))
}

/// An image in the local store.
pub(crate) fn image_export() -> Done<Export> {
    parse_output("type=image")
}

/// Where `--load` brings images: the local store, or another program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// The local store
    Store,
    /// docker
    Docker,
    /// podman
    Podman,
}

/// What `--load` makes of outputs. Without any there is an image in the local store.
pub(crate) fn load_all(exports: &mut Vec<Export>, load: Option<Load>) -> Done<()> {
    match load {
        Some(Load::Store) if !has_image(exports) => exports.push(image_export()?),
        Some(Load::Docker) => exports.push(parse_output("type=docker,load=docker")?),
        Some(Load::Podman) => exports.push(parse_output("type=docker,load=podman")?),
        _ if exports.is_empty() => exports.push(image_export()?),
        _ => {}
    }
    Ok(())
}

/// What `--push` makes of outputs, as in buildx: images among them are pushed too; without one there
/// is another output, an image that is.
pub(crate) fn push_all(exports: &mut Vec<Export>) -> Done<()> {
    if !has_image(exports) {
        exports.push(image_export()?);
    }
    for export in exports.iter_mut().filter(|e| e.kind == OutputKind::Image) {
        if export.push == Push::No {
            export.push = Push::Tags;
        }
    }
    Ok(())
}

/// Refuses to push what has no name.
pub(crate) fn check_names(target: &TargetSpec) -> Done<()> {
    let nameless = |e: &Export| e.push != Push::No && e.names.is_empty();
    if target.tags.is_empty() && target.exports.iter().any(nameless) {
        return Err(Failure::usage_hint(
            "tag is needed when pushing to registry",
            "name the image with `--tag`, `tags` in the bake file, or `name=` of the output",
        ));
    }
    Ok(())
}

/// Whether an image in the local store is among the exports.
pub(crate) fn has_image(exports: &[Export]) -> bool {
    exports.iter().any(|e| e.kind == OutputKind::Image)
}

/// Reads `--secret id=NAME[,src=FILE|,env=NAME][,type=file|env]`.
pub(crate) fn parse_secret(text: &str) -> Result<SecretSpec, String> {
    let mut secret = SecretSpec::default();
    let mut kind = "";
    for field in text.split(',') {
        let (key, value) =
            field.split_once('=').ok_or_else(|| format!("`{field}` is not `key=value`"))?;
        match key.trim() {
            "id" => secret.id = value.to_owned(),
            "src" | "source" => secret.src = Some(value.into()),
            "env" => secret.env = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = value,
            "type" => return Err(format!("unknown secret type `{value}` (want file or env)")),
            other => {
                let near = nearest(other, ["id", "src", "source", "env", "type"]);
                let near = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                return Err(format!("unknown attribute `{other}` of a secret{near}"));
            }
        }
    }
    if secret.id.is_empty() {
        return Err("a secret needs `id=`".to_owned());
    }
    if kind == "env" && secret.env.is_none() {
        // As in buildx: `src` names the variable of a secret of this type.
        let name = secret.src.take().map(|p| p.to_string_lossy().into_owned());
        secret.env = Some(name.unwrap_or_else(|| secret.id.clone()));
    }
    Ok(secret)
}

/// Reads `--ssh default|ID[=SOCKET[,SOCKET]]`.
pub(crate) fn parse_ssh(text: &str) -> Result<SshSpec, String> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let paths = paths.split(',').filter(|p| !p.is_empty()).map(Into::into).collect();
    Ok(SshSpec { id: id.to_owned(), paths })
}

/// Reads `--add-host NAME:ADDRESS` (or `NAME=ADDRESS`).
pub(crate) fn parse_host(text: &str) -> Result<(String, String), String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| format!("`{text}` is not `NAME:ADDRESS`"))?;
    if name.is_empty() || address.is_empty() {
        return Err(format!("`{text}` is not `NAME:ADDRESS`"));
    }
    Ok((name.to_owned(), address.trim_matches(['[', ']']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read() {
        let secret = parse_secret("id=a,src=/f").expect("valid");
        assert_eq!((secret.id.as_str(), secret.src), ("a", Some("/f".into())));
        assert_eq!(parse_secret("id=T,type=env").map(|s| s.env), Ok(Some("T".into())));
        assert!(parse_secret("src=/f").is_err());
        assert_eq!(
            parse_secret("id=a,scr=/f"),
            Err("unknown attribute `scr` of a secret; did you mean `src`?".into())
        );
    }

    #[test]
    fn push_takes_images_and_docker_loads() {
        let pushes = |texts: &[&str]| -> Vec<(OutputKind, Push)> {
            let mut exports: Vec<Export> =
                texts.iter().map(|t| parse_output(t).expect(t)).collect();
            push_all(&mut exports).expect("an image");
            exports.iter().map(|e| (e.kind, e.push)).collect()
        };
        let image = (OutputKind::Image, Push::Tags);
        assert_eq!(pushes(&[]), [image]);
        assert_eq!(pushes(&["type=image"]), [image]);
        assert_eq!(pushes(&["type=tar,dest=x"]), [(OutputKind::Tar, Push::No), image]);
        let by_digest = "type=registry,push-by-digest=true,name=a/b";
        assert_eq!(pushes(&[by_digest]), [(OutputKind::Image, Push::Digest)]);
        assert_eq!(parse_output("type=docker").map(|e| e.kind).ok(), Some(OutputKind::Image));
        let file = parse_output("type=docker,dest=x.tar").map(|e| e.kind).ok();
        assert_eq!(file, Some(OutputKind::Docker));
    }

    #[test]
    fn load_adds_an_output_once() {
        let loads = |texts: &[&str], load| {
            let mut exports: Vec<Export> =
                texts.iter().map(|t| parse_output(t).expect(t)).collect();
            load_all(&mut exports, load).expect("valid");
            exports.iter().map(|e| (e.kind, e.load)).collect::<Vec<_>>()
        };
        let (image, tar) = ((OutputKind::Image, None), (OutputKind::Tar, None));
        let podman = (OutputKind::Docker, Some(karman_control::Loader::Podman));
        assert_eq!(loads(&[], None), [image]);
        assert_eq!(loads(&["type=image"], Some(Load::Store)), [image]);
        assert_eq!(loads(&["type=tar,dest=x"], Some(Load::Store)), [tar, image]);
        assert_eq!(loads(&[], Some(Load::Podman)), [podman]);
        assert_eq!(loads(&["type=docker,load=podman"], None), [podman]);
    }

    #[test]
    fn hosts_may_be_written_both_ways() {
        assert_eq!(parse_host("a:::1"), Ok(("a".into(), "::1".into())));
        assert_eq!(parse_host("a=10.0.0.1"), Ok(("a".into(), "10.0.0.1".into())));
        assert!(parse_host("a").is_err());
    }
}
