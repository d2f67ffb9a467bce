//! `karman bake`.

mod allow;
mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use karman_bake::{
    BakeFile, Facts, Request, Resolved, list_targets, list_variables, parse, parse_var, print_json,
    resolve, targets_json, targets_table, variables_json, variables_table,
};
use karman_build::{TargetSpec, from_bake};
use karman_diag::{Diagnostic, ExitCode, render};
use karman_oci::Platform;
use karman_report::{Redactor, Table};
use serde_json::{Map, Value};

use self::allow::Allowed;
use self::files::Asked;
use crate::attest::{AttestArgs, metadata_mode};
use crate::call::{self, CallArgs};
use crate::driver::{self, Job, Made};
use crate::failure::{Done, Failure};
use crate::flags::{Load, check_names, has_image, load_all, push_all};
use crate::layers::Format;
use crate::progress::ProgressArgs;
use crate::random::random;
use crate::setup::Context;
use crate::{destinations, layers, metadata, out};

/// Which bake files, and what is changed in them.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct FileArgs {
    /// Bake file: HCL, JSON or compose; `-` is standard input, `cwd://FILE` a local file beside remote ones
    /// [env: BUILDX_BAKE_FILE] [default: compose.{yaml,yml}, docker-compose.{yml,yaml},
    /// docker-bake.{json,hcl} and docker-bake.override.{json,hcl}, all that are there]
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,
    /// Override a value: TARGET.KEY[.SUB][+]=VALUE; patterns such as `*` name several targets
    #[arg(long, value_name = "OVERRIDE")]
    set: Vec<String>,
    /// Set a variable of the bake files; wins over the environment
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_var)]
    var: Vec<(String, String)>,
}

/// Arguments.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Targets, groups or patterns [default: default]; before them the git or HTTP URL of remote bake files
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Print the resolved targets as JSON and build nothing
    #[arg(long)]
    print: bool,
    /// Build, export nothing and print the layers along packages: a table, or with `=json` the plan for `layer-plan=`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "table", value_name = "FORMAT")]
    print_layers: Option<Format>,
    /// Print `targets` or `variables` and build nothing; with `,format=json` as JSON
    #[arg(long, value_name = "WHAT")]
    list: Option<String>,
    /// Output of all targets, as in `karman build` [default: type=image where a target has none]
    #[arg(short, long, value_name = "SPEC")]
    output: Vec<String>,
    /// Keep all images in the local store besides other outputs, or bring them to docker or podman
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "store", value_name = "STORE")]
    load: Option<Load>,
    /// Run everything again
    #[arg(long)]
    no_cache: bool,
    /// Look up base images again
    #[arg(long)]
    pull: bool,
    /// Export, tag and write nothing unless every image passes the audit by this policy
    #[arg(long, value_name = "POLICY")]
    gate: Option<PathBuf>,
    #[command(flatten)]
    progress: ProgressArgs,
    /// Allow network.host, security.insecure, ssh, device, or a path outside of the working directory:
    /// fs.read=PATH, fs.write=PATH, fs=PATH for both
    #[arg(long, value_name = "PRIVILEGE")]
    allow: Vec<String>,
    #[command(flatten)]
    call: CallArgs,
    /// Go on with targets that do not need one that failed; the exit code is 1 when any failed
    #[arg(short, long)]
    keep_going: bool,
    /// Write what was made as JSON, by target
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Push the image to the registry that its name says: shorthand for --output=type=registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    push: Option<bool>,
    #[command(flatten)]
    attestations: AttestArgs,
}

/// Builds, prints or lists.
pub(crate) fn run(args: Args, context: &Context) -> Done {
    let list = args.list.as_deref().map(Listing::parse).transpose()?;
    if args.print && list.is_some() {
        return Err(Failure::usage("`--print` and `--list` are mutually exclusive"));
    }
    let allowed = Allowed::parse(&args.allow)?;
    let asked = Asked::of(&args.targets);
    if asked.url.is_some() || (list.is_none() && !args.print) {
        // An ordinary user's program starts once more in there: nothing may be read from standard
        // input or said before.
        context.enter()?;
    }
    let (bake, request) = read(&args, &asked, context)?;
    if let Some(list) = list {
        let text = list
            .text(&bake, &request)
            .map_err(|found| Failure::diagnostics(&found, &bake.sources, ExitCode::Input))?;
        out::data(&text)?;
        return Ok(0);
    }
    let resolved = resolve_all(&bake, &request)?;
    if args.print {
        out::data(&print_json(&resolved))?;
        return Ok(0);
    }
    build(&args, &resolved, allowed, context)
}

/// Reads the bake files; says what they warn of.
fn read(args: &Args, asked: &Asked, context: &Context) -> Done<(BakeFile, Request)> {
    let found = files::read(&args.files.file, asked, context)?;
    let request = args.request(asked, found.place, context)?;
    let (bake, found) = parse(&found.files, &request);
    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) =
        found.into_iter().partition(Diagnostic::is_error);
    warnings.iter().for_each(|w| out::note(&render(w, &bake.sources)));
    if errors.is_empty() {
        return Ok((bake, request));
    }
    Err(Failure::diagnostics(&errors, &bake.sources, ExitCode::Input))
}

fn resolve_all(bake: &BakeFile, request: &Request) -> Done<Resolved> {
    resolve(bake, request).map_err(|found| {
        let exit = if asks_unknown(bake, request) { ExitCode::NotFound } else { ExitCode::Input };
        Failure::diagnostics(&found, &bake.sources, exit)
    })
}

/// The names of the images that bake targets make, in their order.
pub(crate) fn images_of(
    files: &FileArgs,
    targets: &[String],
    context: &Context,
) -> Done<Vec<String>> {
    let args = Args { targets: targets.to_vec(), files: files.clone(), ..Args::default() };
    let asked = Asked::of(targets);
    if asked.url.is_some() {
        context.enter()?;
    }
    let (bake, request) = read(&args, &asked, context)?;
    let resolved = resolve_all(&bake, &request)?;
    let wanted = resolved.order.iter().filter_map(|n| Some((n, resolved.targets.get(n)?)));
    let mut images = Vec::new();
    for (name, target) in wanted.filter(|(_, target)| !target.linked) {
        let spec = spec(name, target, None, false)?;
        let tag = spec.tags.first();
        images.extend(tag.map(|t| t.strip_suffix(":latest").unwrap_or(t).to_owned()));
    }
    Ok(images)
}

fn build(args: &Args, resolved: &Resolved, allowed: Allowed, context: &Context) -> Done {
    let progress = args.progress.choose(&context.env, false)?;
    let told = metadata_mode(&context.env)?;
    let wanted = resolved.order.iter().filter_map(|n| Some((n, resolved.targets.get(n)?)));
    let specs: Vec<TargetSpec> = wanted
        .map(|(name, target)| spec(name, target, args.load, args.push == Some(true)))
        .collect::<Done<_>>()?;
    let pull = args.pull || resolved.targets.values().any(|t| t.pull == Some(true));
    let allow = allowed.privileges(&resolved.granted);
    allowed.check(resolved, context)?;
    let job = |specs| {
        let (allow, debug) = (allow.clone(), args.progress.debug());
        let (gate, keep_going) = (args.gate.clone(), args.keep_going);
        Job { specs, progress, pull, allow, cgroup_parent: None, debug, gate, keep_going }
    };
    let questions = call::questions(&args.call, resolved)?;
    let mut code = 0;
    for question in &questions {
        let asked = job(call::with_linked(&specs, &question.targets));
        let answers = driver::call(&asked, question.call, context)?;
        code = code.max(question.show(answers, resolved)?);
    }
    let specs = call::left_to_build(&specs, &questions, resolved);
    if specs.is_empty() {
        return Ok(code);
    }
    let specs = match args.print_layers {
        Some(format) => specs.into_iter().map(|spec| only_planned(spec, format)).collect(),
        None => specs,
    };
    args.metadata_file.iter().try_for_each(|file| destinations::check_file(file))?;
    let tags = driver::tags_of(&specs);
    let all = driver::build(job(specs), context)?;
    let Made { response, failed, .. } = &all;
    if let (Some(format), Some(plan)) = (args.print_layers, &response.layers) {
        out::data(&layers::print(plan, format))?;
    }
    if let Some(file) = &args.metadata_file {
        let made = |name: &String| failed.iter().all(|(f, _)| f != name);
        let wanted = tags.iter().filter(|(n, _)| !resolved.targets[*n].linked && made(n));
        let map: Map<String, Value> = wanted
            .map(|(name, tags)| (name.clone(), metadata::of_target(&all, name, tags, told)))
            .collect();
        metadata::write_json(file, &Value::Object(map))?;
    }
    if failed.is_empty() {
        return Ok(code);
    }
    out::note(&summary(tags.keys(), failed));
    Ok(ExitCode::Failure.code())
}

/// A target whose layers are planned and which is not exported.
fn only_planned(mut spec: TargetSpec, format: Format) -> TargetSpec {
    spec.exports = layers::planning(&spec.exports, format).into_iter().collect();
    spec
}

/// Every failure, then what became of each target.
fn summary<'a>(targets: impl Iterator<Item = &'a String>, failed: &[(String, Failure)]) -> String {
    let mut text = String::new();
    let mut table = Table::new(["TARGET", "RESULT"]);
    for name in targets {
        let failure = failed.iter().find(|(f, _)| f == name);
        if let Some((_, failure)) = failure {
            text.push_str(&format!("target `{name}`:\n{}\n", failure.render()));
        }
        let result = if failure.is_some() { "failed" } else { "built" };
        table.row([name.clone(), result.to_owned()]);
    }
    text + &table.render()
}

/// The build of a target. Without an output the image goes to the local store, and without a tag it
/// is named after the target.
fn spec(
    name: &str,
    target: &karman_bake::Target,
    load: Option<Load>,
    push: bool,
) -> Done<TargetSpec> {
    let mut spec = from_bake(name, target).map_err(|e| Failure::plan(e, &Redactor::default()))?;
    if target.linked {
        return Ok(spec);
    }
    load_all(&mut spec.exports, load)?;
    if push {
        push_all(&mut spec.exports)?;
    }
    check_names(&spec)?;
    let named = spec.exports.iter().any(|e| !e.names.is_empty());
    let is_loaded = spec.exports.iter().any(|e| e.load.is_some());
    if spec.tags.is_empty() && !named && (is_loaded || has_image(&spec.exports)) {
        // References are lower case, target names need not be.
        spec.tags.push(name.to_lowercase());
    }
    Ok(spec)
}

/// Whether a target was asked for that the files do not have.
fn asks_unknown(bake: &BakeFile, request: &Request) -> bool {
    let plain = Request { targets: Vec::new(), overrides: Vec::new(), ..request.clone() };
    let Ok(listed) = list_targets(bake, &plain) else { return false };
    // Names with `_` are private and not listed.
    request.targets.iter().any(|t| !t.starts_with('_') && listed.iter().all(|l| l.name != *t))
}

impl Args {
    /// The arguments of a bake of one target with everything else at its default.
    pub(crate) fn of(target: &str) -> Self {
        Self { targets: vec![target.to_owned()], ..Self::default() }
    }

    fn request(&self, asked: &Asked, place: Option<String>, context: &Context) -> Done<Request> {
        let mut overrides = self.files.set.clone();
        if self.no_cache {
            overrides.push("*.no-cache=true".to_owned());
        }
        if self.pull {
            overrides.push("*.pull=true".to_owned());
        }
        overrides.extend(self.output.iter().map(|o| format!("*.output={o}")));
        let attested = self.attestations.specs();
        overrides.extend(attested.iter().map(|spec| format!("*.attest={spec}")));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Request {
            targets: asked.targets.clone(),
            overrides,
            vars: self.files.var.iter().cloned().collect(),
            env: context.env.texts.clone(),
            facts: Facts {
                local_platform: Platform::host().to_string(),
                now: i64::try_from(now.as_secs()).ok(),
                home: context.env.get("HOME").map(str::to_owned),
                random: Some(random()?),
                cmd_context: asked.context.clone().unwrap_or_else(|| "cwd://".to_owned()),
                place,
            },
            files: files::beside(&context.env.cwd),
        })
    }
}

/// What `--list` asks for.
struct Listing {
    variables: bool,
    json: bool,
}

impl Listing {
    /// Reads `targets`, `variables`, `type=targets,format=json`.
    fn parse(text: &str) -> Done<Self> {
        let wrong = || {
            Failure::usage_hint(
                format!("invalid `--list {text}`"),
                "want `targets` or `variables`, with `,format=json` where wanted",
            )
        };
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or(("type", field));
            fields.insert(key, value);
        }
        let variables = match fields.remove("type") {
            Some("targets") => false,
            Some("variables") => true,
            _ => return Err(wrong()),
        };
        let json = match fields.remove("format") {
            None | Some("table") => false,
            Some("json") => true,
            Some(_) => return Err(wrong()),
        };
        if fields.is_empty() { Ok(Self { variables, json }) } else { Err(wrong()) }
    }

    fn text(&self, bake: &BakeFile, request: &Request) -> Result<String, Vec<Diagnostic>> {
        if self.variables {
            let all = list_variables(bake, request)?;
            return Ok(if self.json { variables_json(&all) } else { variables_table(&all) });
        }
        let all = list_targets(bake, request)?;
        Ok(if self.json { targets_json(&all) } else { targets_table(&all) })
    }
}
