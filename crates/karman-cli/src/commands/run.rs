//! `karman run`.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use karman_control::Cause;
use karman_diag::ExitCode;
use karman_worker::RunRequest;

use crate::driver::{is_interrupted, watched};
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// Given where a command's exit code does not fit into a byte.
const ODD_EXIT: u8 = 255;
/// The code of a command that we killed because we were told to stop.
const KILLED: i32 = 137;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or digest of an image in the local store
    image: String,
    /// Command and arguments in place of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
    /// Environment variable; without a value it is taken from the environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// File or directory of the host to show inside
    #[arg(short, long, value_name = "SOURCE:DEST[:ro]", value_parser = parse_volume)]
    volume: Vec<Volume>,
    /// The host's network, or none
    #[arg(long, value_name = "MODE", value_parser = ["host", "none"], default_value = "host")]
    network: String,
    /// Program in place of the image's entry point; empty removes it
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Make the root filesystem read-only
    #[arg(long)]
    read_only: bool,
    /// Accepted for docker's sake: nothing is ever kept
    #[arg(long)]
    rm: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
}

#[derive(Debug, Clone)]
struct Volume {
    source: PathBuf,
    dest: String,
    readonly: bool,
}

fn parse_volume(text: &str) -> Result<Volume, String> {
    let wrong = || format!("`{text}` is not `SOURCE:DEST[:ro]`");
    let mut parts = text.split(':');
    let (Some(source), Some(dest)) = (parts.next(), parts.next()) else { return Err(wrong()) };
    let readonly = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(wrong()),
    };
    if parts.next().is_some() || source.is_empty() || !Path::new(dest).is_absolute() {
        return Err(wrong());
    }
    Ok(Volume { source: source.into(), dest: dest.to_owned(), readonly })
}

/// Runs; the exit code is the command's.
pub(crate) fn run(args: Args, context: &Context) -> Done {
    let stdin = if args.interactive {
        let stdin = std::io::stdin();
        let fd = stdin.as_fd().try_clone_to_owned();
        Some(fd.map_err(|e| Failure::host("pass standard input on", e))?)
    } else {
        None
    };
    let env = args.env.iter().filter_map(|entry| match entry.contains('=') {
        true => Some(entry.clone()),
        false => context.env.texts.get(entry).map(|value| format!("{entry}={value}")),
    });
    let request = RunRequest {
        image: args.image.clone(),
        args: args.command.clone(),
        entrypoint: args.entrypoint.clone(),
        env: env.collect(),
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        volumes: args
            .volume
            .iter()
            .map(|v| (context.env.absolute(&v.source), v.dest.clone(), v.readonly))
            .collect(),
        no_network: args.network == "none",
        read_only: args.read_only,
        stdin,
        stdout: None,
    };
    let engine = context.open(false)?;
    let session = context.session();
    let code = match watched(&engine, || {}, || engine.run(request, &session))? {
        Ok(code) => code,
        // As a shell does: 127 for a program that is not there, 126 for one that cannot be run.
        Err(error) => match error.cause {
            Cause::Command(code) => {
                out::note(&Failure::from(error).render());
                code
            }
            _ => return Err(error.into()),
        },
    };
    if is_interrupted() && code == KILLED {
        return Ok(ExitCode::Interrupted.code());
    }
    Ok(u8::try_from(code).unwrap_or(ODD_EXIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read() {
        let volume = parse_volume("a:/b:ro").expect("valid");
        assert_eq!(
            (volume.source, volume.dest.as_str(), volume.readonly),
            ("a".into(), "/b", true)
        );
        assert!(
            ["a", "a:b", ":/b", "a:/b:rx", "a:/b:ro:x"].iter().all(|t| parse_volume(t).is_err())
        );
    }
}
