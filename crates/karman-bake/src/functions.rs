//! Functions of the bake files, checked as a whole before anything calls them: names they use must exist, and none may
//! call itself, not even through others.

use std::collections::BTreeSet;

use karman_diag::{Diagnostic, Span};

use crate::eval::suggest;
use crate::file::FunctionDef;
use crate::func;
use crate::limits::MAX_CHAIN;
use crate::scope::Scope;
use crate::syntax::ast::{Call, Expr, Kind, Part, Step};

/// A name that a function uses, with its place.
type Use<'e> = (&'e str, Span);

/// What an expression uses from outside of it.
#[derive(Default)]
struct Uses<'e> {
    variables: Vec<Use<'e>>,
    calls: Vec<Use<'e>>,
    bound: Vec<&'e str>,
}

/// All problems of the functions.
pub(crate) fn check(scope: &Scope<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut done = BTreeSet::new();
    for (at, def) in scope.bake.functions.iter().enumerate() {
        // Neither one that a later file replaces nor one that a built-in hides is ever called.
        let replaced = scope.bake.functions[at + 1..].iter().any(|f| f.name == def.name);
        if replaced || is_built_in(&def.name) {
            continue;
        }
        let uses = uses(def);
        for (name, span) in &uses.variables {
            problems.extend(scope.unknown_variable(name, *span));
        }
        for (name, span) in &uses.calls {
            problems.extend(scope.unknown_function(name, *span));
        }
        problems.extend(cycle(scope, def, &mut Vec::new(), &mut done));
    }
    problems
}

fn is_built_in(name: &str) -> bool {
    func::find(name).is_some() || func::SPECIAL.contains(&name)
}

/// A way from the function back to itself or to one of `chain`; those in `done` lead to none.
fn cycle<'a>(
    scope: &Scope<'a>,
    def: &'a FunctionDef,
    chain: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Diagnostic> {
    // A longer chain fails when it is called.
    if chain.len() >= MAX_CHAIN || !done.insert(&def.name) {
        return None;
    }
    chain.push(&def.name);
    for (name, span) in uses(def).calls {
        if is_built_in(name) {
            continue;
        }
        if let Some(at) = chain.iter().position(|f| *f == name) {
            let way = chain[at..].iter().map(|f| format!("{f}() -> ")).collect::<String>();
            let d = Diagnostic::error(format!("function cycle not allowed for `{name}`"), span);
            return Some(d.with_hint(format!("the calls are {way}{name}()")));
        }
        if let Some(next) = scope.user_function(name)
            && let Some(found) = cycle(scope, next, chain, done)
        {
            return Some(found);
        }
    }
    chain.pop();
    None
}

fn uses(def: &FunctionDef) -> Uses<'_> {
    let mut uses = Uses::default();
    uses.bound.extend(def.params.iter().map(String::as_str));
    uses.bound.extend(def.variadic.as_deref());
    uses.expr(&def.result);
    uses
}

impl<'e> Uses<'e> {
    fn all(&mut self, exprs: &'e [Expr]) {
        exprs.iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, expr: &'e Expr) {
        match &expr.kind {
            Kind::Literal(_) => {}
            Kind::Template(parts) => self.parts(parts),
            Kind::Array(items) => self.all(items),
            Kind::Object(entries) => {
                for (key, value) in entries {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Kind::Variable(name) if self.bound.contains(&name.as_str()) => {}
            Kind::Variable(name) => self.variables.push((name, expr.span)),
            Kind::Conditional(parts) => self.all(parts.as_slice()),
            Kind::Call(call) => self.call(call),
            Kind::Traversal(root, steps) => {
                // `target.NAME` and `group.NAME` are checked where they are evaluated.
                let block =
                    matches!(&root.kind, Kind::Variable(n) if n == "target" || n == "group");
                if !block {
                    self.expr(root);
                }
                for (step, _) in steps {
                    if let Step::Index(index) = step {
                        self.expr(index);
                    }
                }
            }
            Kind::Not(inner) | Kind::Negate(inner) => self.expr(inner),
            Kind::Binary(_, sides) => self.all(sides.as_slice()),
            Kind::For(f) => {
                self.expr(&f.collection);
                let names = f.key_var.iter().chain([&f.value_var]);
                self.with(names.map(String::as_str), |uses| {
                    f.key.iter().chain([&f.value]).chain(&f.cond).for_each(|e| uses.expr(e));
                });
            }
        }
    }

    fn call(&mut self, call: &'e Call) {
        match call.name.as_str() {
            // What they are for is that their arguments may fail.
            "try" | "can" => return,
            // The second argument is a type.
            "convert" => return self.all(&call.args[..call.args.len().min(1)]),
            _ => {}
        }
        self.calls.push((&call.name, call.name_span));
        self.all(&call.args);
    }

    fn parts(&mut self, parts: &'e [Part]) {
        for part in parts {
            match part {
                Part::Text(_) => {}
                Part::Value(expr) => self.expr(expr),
                Part::If(cond, yes, no) => {
                    self.expr(cond);
                    self.parts(yes);
                    self.parts(no);
                }
                Part::For(f) => {
                    self.expr(&f.collection);
                    let names = f.key_var.iter().chain([&f.value_var]);
                    self.with(names.map(String::as_str), |uses| uses.parts(&f.body));
                }
            }
        }
    }

    fn with(&mut self, names: impl Iterator<Item = &'e str>, body: impl FnOnce(&mut Self)) {
        let before = self.bound.len();
        self.bound.extend(names);
        body(self);
        self.bound.truncate(before);
    }
}

impl Scope<'_> {
    fn unknown_variable(&self, name: &str, span: Span) -> Option<Diagnostic> {
        let known = self.is_global(name);
        (!known).then(|| self.no_variable(name, span, Vec::new()))
    }

    fn unknown_function(&self, name: &str, span: Span) -> Option<Diagnostic> {
        let known = is_built_in(name) || self.user_function(name).is_some();
        if known {
            return None;
        }
        let d = Diagnostic::error(format!("there is no function named `{name}`"), span);
        Some(suggest(d, name, self.function_names()))
    }
}
