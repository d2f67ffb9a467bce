//! Audits: the findings of an inventory, what the bytes of an image hold, and what it says when it
//! is run.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use karman_control::{Cause, Session, SolveError};
use karman_inventory::audit::report::{Audited, Counts};
use karman_inventory::audit::secrets::{self, Mark};
use karman_inventory::audit::tracker::Tracker;
use karman_inventory::audit::{ContractRule, Day, Finding, Policy, audit, contract, listen, sort};
use karman_inventory::{Inventory, Kind, Node, Tree as _, TreeError};
use karman_oci::Platform;

use super::image::{self, ImageSpec, Opened};
use super::tree::ViewTree;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, interrupted};
use crate::made_by::recall;
use crate::running::RunRequest;

/// The largest answer of a contract's program: one line for each failure.
const MAX_ANSWER: u64 = 64 << 20;

/// How images are audited.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// What fails and what is promised.
    pub policy: Policy,
    /// The day on which allowances are judged.
    pub today: Day,
    /// Whether programs of the image may be run, without network, to see whether they work.
    pub run: bool,
    /// Known vulnerabilities of Debian packages.
    pub tracker: Option<Tracker>,
    /// What the caller knows of an inventory besides.
    pub more: Option<MoreFindings>,
}

/// Looks at an inventory.
type Look = dyn Fn(&Inventory) -> Vec<Finding> + Send + Sync;

/// Findings that the caller makes of an inventory.
#[derive(Clone)]
pub struct MoreFindings(pub Arc<Look>);

impl std::fmt::Debug for MoreFindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MoreFindings(…)")
    }
}

impl Engine {
    /// Audits an image.
    ///
    /// # Errors
    /// When there is no such image, it cannot be read, or somebody interrupts it. Findings are no errors.
    pub fn audit(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
        options: &AuditOptions,
        session: &Session,
    ) -> Result<Audited, SolveError> {
        self.stoppable("audit", || {
            self.keep_uses()?;
            let opened = image::open(self, spec, platform, session)?;
            self.audit_opened(spec.name(), &opened, options, session)
        })
    }

    pub(super) fn audit_opened(
        &self,
        name: &str,
        opened: &Opened,
        options: &AuditOptions,
        session: &Session,
    ) -> Result<Audited, SolveError> {
        let inventory = self.inventory_of(opened)?;
        let view = self.snapshots().view(&opened.chain).or_fail(Cause::Store, "open the layers")?;
        let tree = ViewTree::new(view).or_fail(Cause::Store, "list the files of the image")?;
        let tree = tree.stopped_by(self);
        let rules: Vec<&ContractRule> = options.policy.contracts(name).collect();
        let mut findings = audit(&inventory, &opened.config);
        for rule in &rules {
            findings.extend(contract::declared(&inventory, rule));
        }
        let marks = self.marks(&opened.chain)?;
        findings.extend(secrets::in_config(&opened.config, &marks));
        findings
            .extend(in_files(&inventory, &tree, &marks).or_fail(Cause::Store, "read the image")?);
        if let Some(tracker) = &options.tracker {
            let release = inventory.system.as_ref().map_or("", |s| s.codename.as_str());
            findings.extend(tracker.check(&inventory, release));
        }
        if let Some(MoreFindings(more)) = &options.more {
            findings.extend(more(&inventory));
        }
        if options.run {
            for plan in contract::plans(&inventory, &rules) {
                findings.extend(self.ask(opened, &inventory, &plan, session)?);
            }
        }
        sort(&mut findings);
        let judged = findings.into_iter().map(|finding| {
            let verdict = options.policy.verdict(&finding, name, options.today);
            (finding, verdict)
        });
        Ok(Audited {
            image: name.to_owned(),
            digest: opened.digest().to_string(),
            counts: Counts::of(&inventory),
            findings: judged.collect(),
        })
    }

    /// Marks of the secrets that were lent to any step behind an image.
    fn marks(&self, chain: &Chain) -> Result<Vec<Mark>, SolveError> {
        let mut seen = BTreeSet::new();
        let mut todo = chain.clone();
        let mut marks = Vec::new();
        while let Some(id) = todo.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let Some(made) = recall(self.store(), &id)? else { continue };
            todo.extend(made.copies.into_iter().filter_map(|c| c.chain).flatten());
            marks.extend(made.secrets);
        }
        Ok(marks)
    }

    /// Runs the program of a contract in the image, without network.
    fn ask(
        &self,
        opened: &Opened,
        inventory: &Inventory,
        plan: &contract::Plan,
        session: &Session,
    ) -> Result<Vec<Finding>, SolveError> {
        let doing = "run the image's Python";
        let questions = plan.request().or_fail(Cause::Engine, doing)?;
        let (stdin, mut ask) = std::io::pipe().or_fail(Cause::Host, doing)?;
        let (answers, stdout) = std::io::pipe().or_fail(Cause::Host, doing)?;
        let request = RunRequest {
            args: vec!["-c".to_owned(), contract::PROGRAM.to_owned()],
            entrypoint: Some(plan.python.clone()),
            no_network: true,
            stdin: Some(OwnedFd::from(stdin)),
            stdout: Some(OwnedFd::from(stdout)),
            ..RunRequest::default()
        };
        std::thread::scope(|scope| {
            // Both ends at once: neither side may wait for a full pipe.
            scope.spawn(move || ask.write_all(&questions));
            let reader = scope.spawn(move || {
                let mut bytes = Vec::new();
                answers.take(MAX_ANSWER).read_to_end(&mut bytes).map(|_| bytes)
            });
            let ended = self.run_in(&opened.chain, &opened.config.config, request, session);
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if self.interrupted() {
                // We killed it: that tells nothing about the image.
                return Err(interrupted());
            }
            match ended {
                Ok(code) => {
                    let bytes = read.or_fail(Cause::Host, doing)?;
                    Ok(contract::judge(inventory, plan, &bytes, code))
                }
                Err(error) if matches!(error.cause, Cause::Command(_)) => {
                    Ok(vec![Finding::new("contract-python", plan.python.clone(), error.message)])
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// Patterns where they may be, and the values that were lent to the build wherever they are.
fn in_files(
    inventory: &Inventory,
    tree: &ViewTree,
    marks: &[Mark],
) -> Result<Vec<Finding>, TreeError> {
    let nodes = tree.nodes()?;
    let nodes: HashMap<&str, &Node> = nodes.iter().map(|n| (n.path.as_str(), n)).collect();
    let mut found = Vec::new();
    for entry in inventory.entries.iter().filter(|e| e.kind == Kind::File) {
        let is_searched = secrets::may_hold_secrets(entry);
        let words = listen::words(&entry.path, entry.size);
        let Some(node) = nodes.get(entry.path.as_str()) else { continue };
        if !is_searched && marks.is_empty() && words.is_none() {
            continue;
        }
        let content = tree.open(node)?;
        if let Some(words) = words {
            found.extend(listen::find(tree, node, words)?);
        }
        if is_searched {
            for what in secrets::find_patterns(&entry.path, &*content)? {
                found.push(secrets::of_pattern(inventory, entry, what));
            }
        }
        for id in secrets::find_marked(&entry.path, &*content, marks)? {
            found.push(secrets::of_build(&entry.path, &id));
        }
    }
    Ok(found)
}
