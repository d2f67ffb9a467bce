//! `karman run`: an image in the same sandbox as RUN steps, on a throw-away layer.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use karman_control::{Cause, EventSink, Session, SolveError};
use karman_llb::VertexDigest;
use karman_oci::{ContainerConfig, Platform};
use karman_sys::overlay::OverlayMount;
use karman_sys::sandbox::{
    Mount, MountKind, Network, Rootfs, Sandbox, SandboxError, Spec, Streams,
};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain};
use crate::exec::{StepEvents, Variables, borrowed, identity_of};

/// What to run.
#[derive(Debug, Default)]
pub struct RunRequest {
    /// Name or digest of an image in the local store.
    pub image: String,
    /// Arguments in place of the image's `Cmd`; empty keeps it.
    pub args: Vec<String>,
    /// A program in place of the image's `Entrypoint`; an empty string removes it.
    pub entrypoint: Option<String>,
    /// `NAME=value` over the image's own.
    pub env: Vec<String>,
    /// Working directory in place of the image's.
    pub workdir: Option<String>,
    /// `user[:group]` in place of the image's.
    pub user: Option<String>,
    /// Host path, path in the container, and whether it is read-only.
    pub volumes: Vec<(PathBuf, String, bool)>,
    /// Whether only loopback is there.
    pub no_network: bool,
    /// Whether the root filesystem cannot be written.
    pub read_only: bool,
    /// Standard input; `None` is empty.
    pub stdin: Option<OwnedFd>,
    /// Standard output; `None` is the caller's own.
    pub stdout: Option<OwnedFd>,
}

impl Engine {
    /// Runs an image to its end with the caller's standard output and error; gives the exit code.
    ///
    /// # Errors
    /// When there is no such image or the sandbox cannot be started. The command's own failure is
    /// its exit code.
    pub fn run(&self, request: RunRequest, session: &Session) -> Result<i32, SolveError> {
        self.keep_uses()?;
        let details = self.inspect_image(&request.image)?;
        let host = Platform::host();
        let ranked = details.platforms.iter().filter_map(|(descriptor, _, config)| {
            Some((config.platform().matches(&host)?, descriptor, config))
        });
        let (_, descriptor, config) = ranked.min_by_key(|r| r.0).ok_or_else(|| {
            let message = format!("image `{}` has nothing for {host}", request.image);
            SolveError::new(Cause::NotFound, message)
        })?;
        let chain = crate::sources::stored_image(self, &descriptor.digest, &silent())?;
        self.run_in(&chain, &config.config, request, session)
    }

    /// The same for layers and a configuration; the request's image is not looked up.
    pub(crate) fn run_in(
        &self,
        chain: &Chain,
        config: &ContainerConfig,
        request: RunRequest,
        session: &Session,
    ) -> Result<i32, SolveError> {
        let view = self.snapshots().view(chain).or_fail(Cause::Store, "open the image")?;
        let active = self.snapshots().prepare(chain).or_fail(Cause::Store, "prepare a layer")?;
        let lowers = self.snapshots().lowers(chain).or_fail(Cause::Store, "open the image")?;
        let overlay = OverlayMount {
            lowers,
            upper: Some(active.fs().to_path_buf()),
            work: Some(active.work().to_path_buf()),
            volatile: true,
        };
        let args = command(config, &request)?;
        let mut spec = Spec::new(Rootfs::Overlay(overlay), args);
        let user = request.user.as_deref().unwrap_or(&config.user);
        let identity = identity_of(user, &view)?;
        (spec.uid, spec.gid) = (identity.uid, identity.gid);
        spec.groups.clone_from(&identity.groups);
        spec.readonly_root = request.read_only;
        spec.network = if request.no_network { Network::None } else { Network::Host };
        let workdir = request.workdir.as_deref().unwrap_or(&config.working_dir);
        spec.cwd = if workdir.is_empty() { "/".to_owned() } else { workdir.to_owned() };
        spec.mounts = mounts(self, &request)?;
        let mut env = Variables::of_lines(config.env.as_deref().unwrap_or_default());
        env.extend(&request.env);
        env.set_default("HOME", &identity.home);
        borrowed::lend_ca(session, &mut env, &mut spec.mounts)?;
        borrowed::lend_proxies(session, &mut env);
        spec.env = env.into_pairs();
        let stdout = request.stdout.map_or_else(Stdio::inherit, Stdio::from);
        let streams = Streams { stdin: request.stdin, stdout, stderr: Stdio::inherit() };
        self.wait(&spec, streams)
    }

    fn wait(&self, spec: &Spec, streams: Streams) -> Result<i32, SolveError> {
        let mut running = match Sandbox::spawn(spec, streams) {
            Ok(running) => running,
            Err(SandboxError::Start(start)) if start.exit_code() >= 126 => {
                let cause = Cause::Command(start.exit_code());
                return Err(SolveError::new(cause, error_chain(&start)));
            }
            Err(error) => {
                let message = format!("failed to start the sandbox: {}", error_chain(&error));
                return Err(SolveError::new(Cause::Host, message)
                    .with_hint("`karman doctor` tells what this host lacks"));
            }
        };
        let status = crate::exec::wait_or_kill(&mut running, &self.cancel_token());
        Ok(status.or_fail(Cause::Engine, "run the image")?.code())
    }
}

fn mounts(engine: &Engine, request: &RunRequest) -> Result<Vec<Mount>, SolveError> {
    let mut mounts = borrowed::name_files(engine.resolv_conf(), borrowed::HOSTNAME, &[]);
    for (source, dest, readonly) in &request.volumes {
        std::fs::metadata(source)
            .or_fail(Cause::Input, &format!("use the volume `{}`", source.display()))?;
        let kind = MountKind::Bind { source: source.clone(), selector: None, readonly: *readonly };
        mounts.push(Mount { dest: dest.clone(), kind });
    }
    Ok(mounts)
}

/// Entry point and arguments, as Docker puts them together.
fn command(config: &ContainerConfig, request: &RunRequest) -> Result<Vec<String>, SolveError> {
    let mut args = match &request.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    if !request.args.is_empty() {
        args.extend(request.args.iter().cloned());
    } else if request.entrypoint.is_none() {
        args.extend(config.cmd.clone().unwrap_or_default());
    }
    if args.is_empty() {
        return Err(SolveError::new(Cause::Input, "no command given and the image has none")
            .with_hint("put the command after the image: `karman run IMAGE -- CMD`"));
    }
    Ok(args)
}

pub(crate) fn silent() -> StepEvents {
    let sink: EventSink = Arc::new(|_| {});
    let vertex = VertexDigest(karman_oci::Digest::sha256_of(b"run"));
    StepEvents { sink, vertex, begun: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(entrypoint: &[&str], cmd: &[&str], request: RunRequest) -> Option<String> {
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
        let (entrypoint, cmd) = (list(entrypoint), list(cmd));
        let config = ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() };
        command(&config, &request).ok().map(|a| a.join(" "))
    }

    #[test]
    fn commands_are_put_together_as_docker_does() {
        let with = |args: &[&str], entrypoint: Option<&str>| RunRequest {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            entrypoint: entrypoint.map(str::to_owned),
            ..RunRequest::default()
        };
        assert_eq!(joined(&["e"], &["c"], with(&[], None)).as_deref(), Some("e c"));
        assert_eq!(joined(&["e"], &["c"], with(&["x"], None)).as_deref(), Some("e x"));
        assert_eq!(joined(&["e"], &["c"], with(&["x"], Some("n"))).as_deref(), Some("n x"));
        assert_eq!(joined(&["e"], &["c"], with(&["x"], Some(""))).as_deref(), Some("x"));
        assert_eq!(joined(&[], &[], with(&[], None)), None);
    }

    #[test]
    fn env_of_the_request_wins() {
        let mut env = Variables::of_lines(&["A=1".into(), "B=2".into()]);
        env.extend(&["A=3".into()]);
        assert_eq!(env.get("A"), Some("3"));
    }
}
