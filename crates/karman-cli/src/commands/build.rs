//! `karman build`.

use std::path::PathBuf;

use karman_bake::{Attest, CacheEntry, Target, parse_caches};
use karman_build::{PlanError, SecretSpec, SshSpec, TargetSpec, from_bake};
use karman_control::{Export, OutputKind};
use karman_oci::Reference;
use karman_report::{Progress, Redactor};

use crate::attest::{AttestArgs, metadata_mode};
use crate::call::CallArgs;
use crate::driver::{self, Job};
use crate::failure::{Done, Failure};
use crate::flags::{
    Allow, Load, check_names, load_all, parse_allow, parse_host, parse_output, parse_secret,
    parse_ssh, push_all,
};
use crate::progress::ProgressArgs;
use crate::setup::Context;
use crate::units::parse_pair;
use crate::{destinations, metadata, out};

/// The name of the only target.
const NAME: &str = "default";

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory, git URL, archive URL, `-` for an archive or Dockerfile on standard input, or any
    /// source of a named context
    #[arg(value_name = "CONTEXT")]
    context: String,
    /// Dockerfile [default: CONTEXT/Dockerfile]; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Name of the image, as in `nova:2026.1`
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Build argument; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Named context: path, docker-image://REF, oci-layout://DIR, git URL, archive URL, debootstrap://…
    #[arg(long, value_name = "NAME=SOURCE", value_parser = parse_pair)]
    build_context: Vec<(String, String)>,
    /// Platform of the result, such as linux/amd64; several make an index [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Where the result goes: type=image|oci|docker|local|tar|cacheonly[,dest=…], a directory, or `-`
    /// for a tar on standard output [default: type=image]
    #[arg(short, long, value_name = "SPEC")]
    output: Vec<String>,
    /// Keep the image in the local store, as without `-o`, or bring it to docker or podman
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "store", value_name = "STORE")]
    load: Option<Load>,
    /// Secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=NAME]
    #[arg(long, value_name = "SPEC", value_parser = parse_secret)]
    secret: Vec<SecretSpec>,
    /// SSH agent or keys for RUN --mount=type=ssh: default, ID=SOCKET or ID=KEY[,KEY]
    #[arg(long, value_name = "SPEC", value_parser = parse_ssh)]
    ssh: Vec<SshSpec>,
    /// Cache to read besides the own one: REF, type=registry,ref=REF or type=local,src=DIR
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,
    /// Cache to write: type=registry,ref=REF, type=local,dest=DIR or type=inline; with mode=max of all
    /// steps
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,
    /// Run everything again
    #[arg(long)]
    no_cache: bool,
    /// Run the steps of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Look up base images again
    #[arg(long)]
    pull: bool,
    /// Export, tag and write nothing unless every image passes the audit by this policy
    #[arg(long, value_name = "POLICY")]
    gate: Option<PathBuf>,
    /// Network of RUN steps: default, host or none
    #[arg(long, value_name = "MODE", value_parser = ["default", "host", "none"])]
    network: Option<String>,
    /// Line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse_host)]
    add_host: Vec<(String, String)>,
    /// Resource limit, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Size of /dev/shm, such as 128m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// cgroup (v2) below which RUN steps get one of their own, such as /builds
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<PathBuf>,
    /// Label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Annotation, of the manifest where no type is named: manifest, index, manifest-descriptor,
    /// index-descriptor
    #[arg(long, value_name = "[TYPE[PLATFORM]:]NAME=VALUE")]
    annotation: Vec<String>,
    /// Write what was made as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write the image id, the digest of its config
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    #[command(flatten)]
    progress: ProgressArgs,
    /// Show errors only, and print the image id
    #[arg(short, long)]
    quiet: bool,
    /// Allow network.host, security.insecure or device[=NAME]
    #[arg(long, value_name = "PRIVILEGE", value_parser = parse_allow, value_delimiter = ',')]
    allow: Vec<Allow>,
    #[command(flatten)]
    call: CallArgs,
    /// Attest in the index of the image: type=provenance[,mode=min|max], or type=sbom; `disabled=true`
    /// takes one back
    #[arg(long, value_name = "SPEC")]
    attest: Vec<String>,
    #[command(flatten)]
    attestations: AttestArgs,
    /// Push the image to the registry that its name says: shorthand for --output=type=registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    push: Option<bool>,
}

/// Builds.
pub(crate) fn run(args: Args, context: Context) -> Done {
    let told = metadata_mode(&context.env)?;
    let progress = args.progress.choose(&context.env, args.quiet)?;
    let spec = args.spec()?;
    let (metadata_file, iidfile) = (args.metadata_file.clone(), args.iidfile.clone());
    check_names(&spec)?;
    let specs = vec![spec];
    let (tags, stdout) = (driver::tags_of(&specs), destinations::uses_stdout(&specs));
    let mut allow = args.allow;
    if args.network.as_deref() == Some("host") {
        // As in buildx: whoever says it on the command line allows it.
        allow.push(Allow::NetworkHost);
    }
    let job = Job {
        specs,
        progress,
        pull: args.pull,
        allow,
        cgroup_parent: args.cgroup_parent,
        debug: args.progress.debug(),
        gate: args.gate,
        keep_going: false,
    };
    if let Some((call, method)) = args.call.method() {
        return method.show(driver::call(&job, call, &context)?);
    }
    let is_nameless = is_nameless(&job.specs);
    metadata_file.iter().chain(&iidfile).try_for_each(|file| destinations::check_file(file))?;
    if let Some(file) = &iidfile {
        // An id that is left from an earlier build must not outlive a failure.
        metadata::remove(file)?;
    }
    let made = driver::build(job, &context)?;
    let id = metadata::image_id(&made.response, NAME);
    if let Some(file) = metadata_file {
        let tags = tags.get(NAME).map(Vec::as_slice).unwrap_or_default();
        metadata::write_json(&file, &metadata::of_target(&made, NAME, tags, told))?;
    }
    if let (Some(file), Some(id)) = (iidfile, &id) {
        metadata::write(&file, id)?;
    }
    let is_asked = progress == Progress::Quiet || is_nameless;
    if let (true, false, Some(id)) = (is_asked, stdout, id) {
        out::data(&format!("{id}\n"))?;
    }
    Ok(0)
}

/// Whether an image stays in the local store that only its id can name.
fn is_nameless(specs: &[TargetSpec]) -> bool {
    let nameless = |e: &Export| e.kind == OutputKind::Image && e.names.is_empty();
    specs.iter().any(|s| s.tags.is_empty() && s.exports.iter().any(nameless))
}

impl Args {
    /// The build that the arguments describe.
    fn spec(&self) -> Done<TargetSpec> {
        let mut spec = self.checked_spec()?;
        spec.context.clone_from(&self.context);
        spec.dockerfile.clone_from(&self.file);
        spec.stage.clone_from(&self.target);
        for arg in &self.build_arg {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            spec.build_args.insert(name.to_owned(), value);
        }
        spec.contexts = self.build_context.iter().cloned().collect();
        spec.labels = self.label.iter().map(|l| label(l)).collect();
        spec.no_cache = self.no_cache;
        spec.no_cache_filter.clone_from(&self.no_cache_filter);
        spec.network.clone_from(&self.network);
        spec.extra_hosts.clone_from(&self.add_host);
        spec.secrets.clone_from(&self.secret);
        spec.ssh.clone_from(&self.ssh);
        spec.tags = self.tags()?;
        spec.exports = self.exports()?;
        Ok(spec)
    }

    /// What bake reads in the same way.
    fn checked_spec(&self) -> Done<TargetSpec> {
        let mut target = Target::default();
        target.ulimits.clone_from(&self.ulimit);
        target.shm_size.clone_from(&self.shm_size);
        target.annotations.clone_from(&self.annotation);
        target.platforms.clone_from(&self.platform);
        for text in self.attest.iter().cloned().chain(self.attestations.specs()) {
            target.attest.push(Attest::parse(&text).map_err(Failure::usage)?);
        }
        target.cache_from = caches("--cache-from", &self.cache_from)?;
        target.cache_to = caches("--cache-to", &self.cache_to)?;
        from_bake(NAME, &target).map_err(|error| match error {
            // There is one target only, which nobody named.
            PlanError::Usage { message, hint } => {
                let message = message.replacen(&format!("target `{NAME}`: "), "", 1);
                Failure::plan(PlanError::Usage { message, hint }, &Redactor::default())
            }
            other => Failure::plan(other, &Redactor::default()),
        })
    }

    fn tags(&self) -> Done<Vec<String>> {
        for tag in &self.tag {
            let parsed = Reference::parse(tag).map_err(|e| Failure::usage(e.to_string()))?;
            if parsed.digest.is_some() {
                return Err(Failure::usage(format!(
                    "`{tag}` has a digest: a new image has none yet"
                )));
            }
        }
        Ok(self.tag.clone())
    }

    fn exports(&self) -> Done<Vec<Export>> {
        let mut exports: Vec<Export> =
            self.output.iter().map(|o| parse_output(o)).collect::<Done<_>>()?;
        load_all(&mut exports, self.load)?;
        if self.push == Some(true) {
            push_all(&mut exports)?;
        }
        Ok(exports)
    }
}

/// Reads `--cache-from` or `--cache-to`.
fn caches(flag: &str, texts: &[String]) -> Done<Vec<CacheEntry>> {
    let mut entries = Vec::new();
    for text in texts {
        let read = parse_caches(text).map_err(|why| Failure::usage(format!("{flag}: {why}")))?;
        entries.extend(read);
    }
    Ok(entries)
}

/// A label without a value is empty, as in docker.
fn label(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}
