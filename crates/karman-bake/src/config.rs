//! All groups and targets of the bake files, evaluated and merged by name, before anything is asked for.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, Span};

use crate::decode::{self, Named};
use crate::eval::{Eval, Locals, fail};
use crate::file::BakeFile;
use crate::limits::MAX_PROBLEMS;
use crate::request::Request;
use crate::scope::Scope;
use crate::target::Target;

/// A group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) targets: Vec<Named>,
}

/// A target as written, with the places of its name and of what it inherits.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) target: Target,
    pub(crate) inherits: Vec<Named>,
}

/// Everything the bake files define.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) groups: Vec<Group>,
    pub(crate) targets: Vec<Definition>,
}

impl Config {
    /// Evaluates variables, then targets and groups; reports one problem for each of them.
    pub(crate) fn of(bake: &BakeFile, request: &Request) -> Result<Self, Vec<Diagnostic>> {
        let scope = Scope::new(bake, request);
        let mut problems = Vec::new();
        check_variables(&scope, &mut problems);
        problems.extend(crate::functions::check(&scope));
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut config = Config::default();
        config.add_compose(bake);
        if let Err(d) = config.add_targets(&scope, &mut problems) {
            problems.push(d);
        }
        for block in &bake.groups {
            match group(&scope, block) {
                Ok(group) => config.add_group(group),
                Err(d) => problems.push(d),
            }
        }
        for attr in &bake.attrs {
            problems.extend(scope.global(&attr.name, attr.name_span, &Locals::default()).err());
        }
        unique(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The services of compose files, on which everything else is laid, and the group of them all.
    fn add_compose(&mut self, bake: &BakeFile) {
        let Some(compose) = &bake.compose else { return };
        if compose.targets.is_empty() {
            return;
        }
        let targets = compose.targets.iter().map(|(name, span, _)| (name.clone(), *span)).collect();
        self.groups.push(Group { name: "default".to_owned(), description: String::new(), targets });
        self.targets.extend(compose.targets.iter().map(|(name, span, target)| Definition {
            name: name.clone(),
            span: *span,
            target: target.clone(),
            inherits: Vec::new(),
        }));
    }

    fn add_targets(&mut self, scope: &Scope<'_>, problems: &mut Vec<Diagnostic>) -> Eval<()> {
        let instances = scope.instances()?;
        let known = self.targets.iter().enumerate();
        let mut places: BTreeMap<String, usize> =
            known.map(|(at, t)| (t.name.clone(), at)).collect();
        let mut renamed: Vec<(String, Vec<Named>)> = Vec::new();
        for instance in instances.iter() {
            let block = &scope.bake.targets[instance.block];
            let (label, span) = block.labels[0].clone();
            rename(&mut renamed, &label, (instance.name.clone(), span));
            let (target, inherits) = match decode::target(scope, block, &instance.vars) {
                Ok(found) => found,
                Err(d) => {
                    problems.push(d);
                    continue;
                }
            };
            match places.get(&instance.name) {
                Some(&at) => {
                    let known = &mut self.targets[at];
                    known.target.merge(target);
                    known.inherits.extend(inherits);
                }
                None => {
                    places.insert(instance.name.clone(), self.targets.len());
                    let name = instance.name.clone();
                    self.targets.push(Definition { name, span, target, inherits });
                }
            }
        }
        // A matrix without combinations still has a name.
        for block in &scope.bake.targets {
            let label = &block.labels[0].0;
            if block.body.attr("matrix").is_some() && !renamed.iter().any(|(n, _)| n == label) {
                renamed.push((label.clone(), Vec::new()));
            }
        }
        for (name, targets) in renamed {
            if !matches!(targets.as_slice(), [(only, _)] if *only == name) {
                self.groups.push(Group { name, description: String::new(), targets });
            }
        }
        Ok(())
    }

    /// A later group of a name replaces an earlier one; a written group hides a matrix of its name.
    fn add_group(&mut self, group: Group) {
        match self.groups.iter_mut().find(|g| g.name == group.name) {
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    pub(crate) fn target(&self, name: &str) -> Option<&Definition> {
        self.targets.iter().find(|t| t.name == name)
    }

    /// All names, for suggestions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let groups = self.groups.iter().map(|g| g.name.as_str());
        groups.chain(self.targets.iter().map(|t| t.name.as_str()))
    }
}

/// Without repetitions: several names may fail for one cause.
pub(crate) fn unique(problems: &mut Vec<Diagnostic>) {
    let mut kept: Vec<Diagnostic> = Vec::new();
    for problem in problems.drain(..) {
        if kept.len() < MAX_PROBLEMS && !kept.contains(&problem) {
            kept.push(problem);
        }
    }
    *problems = kept;
}

fn rename(renamed: &mut Vec<(String, Vec<Named>)>, label: &str, name: Named) {
    match renamed.iter_mut().find(|(l, _)| l == label) {
        Some((_, names)) if names.iter().any(|(n, _)| *n == name.0) => {}
        Some((_, names)) => names.push(name),
        None => renamed.push((label.to_owned(), vec![name])),
    }
}

fn check_variables(scope: &Scope<'_>, problems: &mut Vec<Diagnostic>) {
    for var in &scope.bake.variables {
        problems.extend(scope.global(&var.name, var.span, &Locals::default()).err());
    }
    unique(problems);
    if !problems.is_empty() {
        return;
    }
    for (at, var) in scope.bake.variables.iter().enumerate() {
        // A variable of a later file takes the place of the earlier one with its validations.
        let replaced = scope.bake.variables[at + 1..].iter().any(|v| v.name == var.name);
        if !replaced {
            problems.extend(scope.validate(var).err());
        }
    }
}

fn group(scope: &Scope<'_>, block: &crate::syntax::ast::Block) -> Eval<Group> {
    let locals = Locals::default();
    let Some(attr) = block.body.attr("targets") else {
        return fail("the argument `targets` is required", block.span);
    };
    let description = match block.body.attr("description") {
        Some(attr) => scope.eval(&attr.value, &locals)?.to_text().unwrap_or_default(),
        None => String::new(),
    };
    let mut targets = decode::names(scope, attr, &locals)?;
    let mut seen = std::collections::BTreeSet::new();
    targets.retain(|(name, _)| seen.insert(name.clone()));
    Ok(Group { name: block.labels[0].0.clone(), description, targets })
}
