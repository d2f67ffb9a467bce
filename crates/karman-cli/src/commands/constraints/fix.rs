//! `karman constraints fix`.
//!
//! 1. The bumps that would clear every open finding, each to the smallest version that is clear.
//! 2. What the series itself forbids is refused without asking a resolver.
//! 3. The rest is written into a copy of the series, and the fleet is resolved as `lock` does it. Where
//!    that fails, the bumps are tried one by one on top of those that hold, the smallest version first
//!    and then whatever is newer.
//!    Pins that were imported and stand in the way are let go, and get overrides of their own.
//! 4. Every image is resolved alone under the new pins.
//! 5. Only then are the files written.

use std::collections::BTreeSet;

use karman_constraints::{
    Blocker, Bump, Change, Date, NewOverride, PackageName, Pins, Target, blockers, diff, explain,
    mentioned, plan, render_diff, write_override,
};
use karman_diag::ExitCode;

use super::check::{Checked, Source, checked};
use super::lock::{Locked, resolve, write_files};
use super::place::{Loaded, Place, SeriesArgs};
use super::resolver::{Refusal, Resolver, ResolverArgs};
use super::shown::changed_lines;
use crate::failure::{Done, Failure, chain};
use crate::out;
use crate::setup::Context;

/// Imported pins that are let go before a refusal is taken for an answer.
const MAX_RELEASED: usize = 40;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    series: SeriesArgs,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    resolver: ResolverArgs,
    /// When to look at the new overrides again
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// The same, with exit code 1 when something would be written
    #[arg(long)]
    check: bool,
}

/// The state of a search: the series with the bumps that hold, and what it resolves to.
struct Search<'a> {
    place: &'a Place,
    context: &'a Context,
    resolver: Resolver<'a>,
    expires: Option<Date>,
    before: &'a Checked,
    loaded: Loaded,
    locked: Option<Locked>,
    done: Vec<Bump>,
    refused: Vec<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let place = args.series.place(context)?;
    Resolver::enter(&args.resolver, context)?;
    let loaded = place.load(context)?;
    loaded.tell(&loaded.warnings);
    let before = checked(&place, &loaded, &args.source, None, context)?;
    let plan = plan(&before.report, &before.advisories);
    let mut refused: Vec<String> = plan
        .unfixed
        .iter()
        .map(|u| {
            format!(
                "{} {}: no fixed version is named by {}\n",
                u.package,
                u.version,
                u.advisories.join(", ")
            )
        })
        .collect();
    let mut bumps = Vec::new();
    for bump in plan.bumps {
        let mut found = forbidding(&loaded, &before, &bump);
        // What may move is no reason beside what cannot.
        found.retain(|b| b.firm);
        if !found.is_empty() {
            refused.push(refusal(&loaded, &bump, &found, None));
        } else {
            bumps.push(bump);
        }
    }
    if bumps.is_empty() {
        refused.iter().for_each(|text| out::note(text));
        if refused.is_empty() {
            out::note("nothing to fix\n");
        }
        return Ok(code(&refused));
    }
    let resolver = Resolver::open(&args.resolver, context)?;
    let text = loaded.text.clone();
    let mut search = Search {
        place: &place,
        context,
        resolver,
        expires: args.expires,
        before: &before,
        loaded,
        locked: None,
        done: Vec::new(),
        refused,
    };
    search.all(bumps)?;
    search.finish(&text, args)
}

fn code(refused: &[String]) -> u8 {
    if refused.is_empty() { ExitCode::Success.code() } else { ExitCode::Failure.code() }
}

fn forbidding(loaded: &Loaded, before: &Checked, bump: &Bump) -> Vec<Blocker> {
    match &bump.to {
        Target::Exactly(version) => {
            blockers(&loaded.series, before.graph.as_ref(), &bump.package, version)
        }
        // Whether a later version fits is for the resolver to say.
        Target::After(_) => Vec::new(),
    }
}

/// Why a bump is not made.
fn refusal(loaded: &Loaded, bump: &Bump, found: &[Blocker], uv: Option<&Refusal>) -> String {
    let mut text = format!("REFUSED {} for {}\n", bump.shown(), bump.advisories.join(", "));
    for blocker in found {
        let at = blocker.span.map(|s| format!(" ({})", loaded.at(s))).unwrap_or_default();
        text += &format!("  {}{at}\n", blocker.message);
    }
    if let Some(uv) = uv {
        text += &uv.words.lines().map(|line| format!("  {line}\n")).collect::<String>();
    }
    text
}

impl Search<'_> {
    /// All bumps at once, or else one after the other.
    fn all(&mut self, bumps: Vec<Bump>) -> Done<()> {
        if self.attempt(&bumps)?.is_none() {
            return Ok(());
        }
        for bump in bumps {
            let Some(uv) = self.attempt(std::slice::from_ref(&bump))? else { continue };
            let later = match &bump.to {
                Target::Exactly(version) => self.later(&bump, version)?,
                Target::After(_) => false,
            };
            if !later {
                let found = forbidding(&self.loaded, self.before, &bump);
                self.refused.push(refusal(&self.loaded, &bump, &found, Some(&uv)));
            }
        }
        Ok(())
    }

    /// Whatever is newer than the smallest clear version, where that one does not resolve.
    fn later(&mut self, bump: &Bump, version: &str) -> Done<bool> {
        let open = Bump { to: Target::After(version.to_owned()), ..bump.clone() };
        Ok(self.attempt(&[open])?.is_none())
    }

    /// Resolves the fleet, and every image alone, with `bumps` on top of those that hold. Keeps them
    /// where that works; gives uv's refusal where it does not.
    fn attempt(&mut self, bumps: &[Bump]) -> Done<Option<Refusal>> {
        let candidate = self.with(bumps, None)?;
        let locked = match self.released(&candidate, bumps)? {
            Ok(locked) => locked,
            Err(refusal) => return Ok(Some(refusal)),
        };
        // What the resolver chose of a range is written down: the same file must give the same answer.
        let forced = self.moved(&candidate, bumps, &locked)?;
        let all = [bumps, &forced].concat();
        let exact = self.with(&all, Some(&locked.pins))?;
        let locked = if exact.text == candidate.text {
            locked
        } else {
            let none = BTreeSet::new();
            match resolve(self.place, &exact, &none, &self.resolver, self.context)? {
                Ok(locked) => locked,
                Err(refusal) => return Ok(Some(refusal)),
            }
        };
        for service in &exact.series.services {
            let script = exact.series.image_script(service, &locked.pins);
            if let Err(refusal) = self.resolver.run(&script)? {
                let words = format!("service `{}`:\n{}", service.name, refusal.words);
                return Ok(Some(Refusal { words, ..refusal }));
            }
        }
        self.loaded = exact;
        self.locked = Some(locked);
        self.done.extend(bumps.iter().cloned());
        Ok(None)
    }

    /// Resolves the fleet. Imported pins that uv names where it refuses are let go, a few at a time:
    /// they were made for the versions that are to move.
    fn released(&self, candidate: &Loaded, bumps: &[Bump]) -> Done<Result<Locked, Refusal>> {
        let held = self.place.held(candidate, self.context)?;
        let mut released = BTreeSet::new();
        loop {
            let tried = resolve(self.place, candidate, &released, &self.resolver, self.context)?;
            let refusal = match (tried, &held) {
                (Err(refusal), Some(_)) if released.len() < MAX_RELEASED => refusal,
                (done, _) => return Ok(done),
            };
            let series = &candidate.series;
            let fixed = |name: &PackageName| {
                bumps.iter().any(|b| b.package == *name)
                    || series.services.iter().any(|s| s.distribution == *name)
                    || series.overrides.iter().any(|o| o.package == *name)
            };
            let mut more = mentioned(&refusal.words);
            more.retain(|name| {
                let pinned = held.as_ref().is_some_and(|h| !h.pins.get(name).is_empty());
                pinned && !released.contains(name) && !fixed(name)
            });
            if more.is_empty() {
                return Ok(Err(refusal));
            }
            released.append(&mut more);
        }
    }

    /// Imported pins that moved because they were let go: they need overrides of their own.
    fn moved(&self, candidate: &Loaded, bumps: &[Bump], locked: &Locked) -> Done<Vec<Bump>> {
        let Some(held) = self.place.held(candidate, self.context)? else { return Ok(Vec::new()) };
        let changes = diff(&held.pins, &locked.pins);
        let moved = changes.iter().filter(|c| c.from.is_some() && c.to.is_some());
        let all = diff(&self.before.pins, &locked.pins);
        let bump = |change: &Change| {
            let reasons = explain(change, &all, self.before.graph.as_ref(), &locked.graph);
            let names: Vec<String> = bumps.iter().map(Bump::shown).collect();
            let because = if reasons.is_empty() {
                format!("moves with {}", names.join(" and "))
            } else {
                format!("moves with {}: {}", names.join(" and "), reasons.join("; "))
            };
            Bump {
                package: change.package.clone(),
                from: change.from.iter().cloned().collect(),
                to: Target::Exactly(change.to.clone().unwrap_or_default()),
                advisories: bumps.iter().flat_map(|b| b.advisories.clone()).collect(),
                reason: because,
            }
        };
        Ok(moved.map(bump).collect())
    }

    /// The series with overrides for `bumps`; `chosen` gives versions to those that name a range.
    fn with(&self, bumps: &[Bump], chosen: Option<&Pins>) -> Done<Loaded> {
        let mut text = self.loaded.text.clone();
        for bump in bumps {
            let pin = chosen.and_then(|pins| pins.get(&bump.package).first());
            let version = pin.map_or_else(|| bump.to.bound(), |p| format!("=={}", p.version));
            let new = NewOverride {
                package: bump.package.clone(),
                version,
                advisories: bump.advisories.clone(),
                reason: bump.reason.clone(),
                expires: self.expires,
            };
            text = write_override(&text, &new).map_err(|e| Failure::Rendered {
                text: format!("ERROR: {}: {}\n", self.place.source().display(), chain(&e)),
                exit: ExitCode::Input,
            })?;
        }
        self.place.parse(text)
    }

    /// Shows what changes and why, and writes it.
    fn finish(&self, text: &str, args: &Args) -> Done {
        if let Some(locked) = &self.locked {
            out::data(&self.changes(locked))?;
            out::data(&changed_lines(text, &self.loaded.text))?;
            out::note(&format!(
                "resolved for every image: {}\n",
                self.loaded
                    .series
                    .services
                    .iter()
                    .map(|s| s.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
            if args.dry_run || args.check {
                out::note("nothing is written\n");
            } else {
                let graph = locked.graph.render();
                let files = [
                    (self.place.source(), self.loaded.text.as_str()),
                    (self.place.locked(), locked.text.as_str()),
                    (self.place.requirements(), graph.as_str()),
                ];
                write_files(&files, self.context)?;
            }
        }
        self.refused.iter().for_each(|text| out::note(text));
        if args.check && self.locked.is_some() {
            return Ok(ExitCode::Failure.code());
        }
        Ok(code(&self.refused))
    }

    /// The pins that move, each with its reason.
    fn changes(&self, locked: &Locked) -> String {
        let changes = diff(&self.before.pins, &locked.pins);
        let mut out = String::new();
        for change in &changes {
            out += &render_diff(std::slice::from_ref(change));
            out += &format!("    {}\n", self.reason(change, &changes, locked));
        }
        out
    }

    fn reason(&self, change: &Change, changes: &[Change], locked: &Locked) -> String {
        if let Some(bump) = self.done.iter().find(|b| b.package == change.package) {
            return format!("{}: {}", bump.advisories.join(", "), bump.reason);
        }
        let reasons = explain(change, changes, self.before.graph.as_ref(), &locked.graph);
        if reasons.is_empty() {
            return "the resolver's choice: no requirement that was recorded asks for it"
                .to_owned();
        }
        format!("forced: {}", reasons.join("; "))
    }
}
