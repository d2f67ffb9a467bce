//! The global scope: variables, attributes, functions and targets by name, evaluated when first asked for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use karman_diag::{Diagnostic, Span};
use sha2::{Digest as _, Sha256};

use crate::eval::{Eval, Locals, fail, suggest};
use crate::file::{BakeFile, FunctionDef};
use crate::func::{self, Args};
use crate::limits::{MAX_DEPTH, MAX_STEPS, MAX_VALUE_DEPTH};
use crate::matrix::{Instance, instances};
use crate::request::Request;
use crate::syntax::ast::{Block, Call, Step};
use crate::value::Value;

/// Everything expressions of one resolve can see.
pub(crate) struct Scope<'a> {
    pub(crate) bake: &'a BakeFile,
    pub(crate) request: &'a Request,
    pub(crate) values: RefCell<BTreeMap<String, Value>>,
    pub(crate) progress: RefCell<Vec<String>>,
    instances: RefCell<Option<Rc<Vec<Instance>>>>,
    naming: Cell<bool>,
    /// What could not be evaluated, so that one cause is reported once.
    pub(crate) failed: RefCell<BTreeMap<String, Diagnostic>>,
    exhausted: RefCell<Option<Diagnostic>>,
    steps: Cell<u64>,
    depth: Cell<u32>,
    uuids: Cell<u64>,
}

/// One level of evaluation; dropping it leaves the level.
pub(crate) struct Depth<'s>(&'s Cell<u32>);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl<'a> Scope<'a> {
    /// A fresh scope.
    pub(crate) fn new(bake: &'a BakeFile, request: &'a Request) -> Self {
        Self {
            bake,
            request,
            values: RefCell::default(),
            progress: RefCell::default(),
            instances: RefCell::default(),
            naming: Cell::new(false),
            failed: RefCell::default(),
            exhausted: RefCell::default(),
            steps: Cell::new(0),
            depth: Cell::new(0),
            uuids: Cell::new(0),
        }
    }

    /// Counts work; fails past [`MAX_STEPS`].
    pub(crate) fn charge(&self, steps: u64, span: Span) -> Eval<()> {
        let total = self.steps.get().saturating_add(steps);
        self.steps.set(total);
        if total <= MAX_STEPS {
            return Ok(());
        }
        let mut exhausted = self.exhausted.borrow_mut();
        let first = exhausted.get_or_insert_with(|| {
            Diagnostic::error("evaluating the bake file takes too many steps", span)
                .with_hint(format!("at most {MAX_STEPS} steps and {MAX_VALUE_DEPTH} nested lists"))
        });
        Err(first.clone())
    }

    /// One level deeper; fails past [`MAX_DEPTH`].
    pub(crate) fn enter(&self, span: Span) -> Eval<Depth<'_>> {
        self.charge(1, span)?;
        self.depth.set(self.depth.get() + 1);
        let guard = Depth(&self.depth);
        if self.depth.get() > MAX_DEPTH {
            return fail(format!("expressions are nested deeper than {MAX_DEPTH}"), span);
        }
        Ok(guard)
    }

    /// Marks `what` as being evaluated; the cycle, where it already is.
    pub(crate) fn begin(&self, what: &str) -> Result<Progress<'_>, String> {
        let mut progress = self.progress.borrow_mut();
        if let Some(at) = progress.iter().position(|p| p == what) {
            let mut chain: Vec<&str> = progress[at..].iter().map(String::as_str).collect();
            chain.push(what);
            return Err(chain.join(" -> "));
        }
        progress.push(what.to_owned());
        Ok(Progress(&self.progress))
    }

    /// Whether the bake files define the function (and nothing built in hides it).
    pub(crate) fn user_function(&self, name: &str) -> Option<&'a FunctionDef> {
        self.bake.functions.iter().rev().find(|f| f.name == name)
    }

    /// Calls a function by name.
    pub(crate) fn function(&self, call: &Call, args: Vec<Value>, span: Span) -> Eval<Value> {
        let name = call.name.as_str();
        if let Some(f) = func::find(name) {
            let given = args.len();
            if given < f.fewest || given > f.most {
                let wanted = arity(f.fewest, f.most);
                return fail(format!("`{name}` takes {wanted}, {given} given"), span);
            }
            let out = (f.call)(Args(args));
            return out.map_err(|f| Diagnostic::error(format!("`{name}`: {}", f.0), span));
        }
        match name {
            "timestamp" if args.is_empty() => return self.timestamp(span),
            "homedir" if args.is_empty() => return self.homedir(span),
            "uuidv4" if args.is_empty() => return self.uuid(span),
            "bcrypt" if matches!(args.len(), 1 | 2) => return self.bcrypt(Args(args), span),
            "bcrypt" | "can" | "convert" | "homedir" | "timestamp" | "uuidv4" => {
                return fail(format!("wrong number of arguments for `{name}`"), span);
            }
            _ => {}
        }
        if let Some(def) = self.user_function(name) {
            return self.call_user(def, args, span);
        }
        let d = Diagnostic::error(format!("there is no function named `{name}`"), call.name_span);
        Err(suggest(d, name, self.function_names()))
    }

    /// All functions that can be called, for suggestions.
    pub(crate) fn function_names(&self) -> impl Iterator<Item = &str> {
        let known = func::TABLE.iter().map(|f| f.name).chain(func::SPECIAL);
        known.chain(self.bake.functions.iter().map(|f| f.name.as_str()))
    }

    fn call_user(&self, def: &FunctionDef, args: Vec<Value>, span: Span) -> Eval<Value> {
        let name = &def.name;
        let most = if def.variadic.is_some() { usize::MAX } else { def.params.len() };
        if args.len() < def.params.len() || args.len() > most {
            let wanted = arity(def.params.len(), most);
            return fail(format!("`{name}` takes {wanted}, {} given", args.len()), span);
        }
        let _progress = self.begin(&format!("{name}()")).map_err(|chain| {
            Diagnostic::error(format!("function cycle not allowed for `{name}`"), span)
                .with_hint(format!("the calls are {chain}"))
        })?;
        let mut args = args.into_iter();
        let mut vars: Vec<(String, Value)> =
            def.params.iter().cloned().zip(args.by_ref()).collect();
        vars.extend(def.variadic.iter().map(|v| (v.clone(), Value::List(args.by_ref().collect()))));
        self.eval(&def.result, &Locals::new(&vars))
    }

    fn timestamp(&self, span: Span) -> Eval<Value> {
        match self.request.facts.now {
            Some(now) => Ok(Value::text(func::time::rfc3339(now))),
            None => fail("the time is not known here", span),
        }
    }

    fn homedir(&self, span: Span) -> Eval<Value> {
        match &self.request.facts.home {
            Some(home) => Ok(Value::text(home)),
            None => fail("the home directory is not known here", span),
        }
    }

    fn uuid(&self, span: Span) -> Eval<Value> {
        let digest = self
            .random("uuidv4", span)
            .map_err(|d| d.with_hint("`uuidv5(\"dns\", name)` is the same in every build"))?;
        Ok(Value::text(func::uuid_text(&digest, 4)))
    }

    /// The hash of a text with a random salt: another one in every run, as the function is meant.
    fn bcrypt(&self, args: Args, span: Span) -> Eval<Value> {
        let fail = |f: func::Fault| Diagnostic::error(format!("`bcrypt`: {}", f.0), span);
        let cost = func::crypto::bcrypt_cost(&args).map_err(fail)?;
        // A round takes as long as some hundred of our steps.
        self.charge(400 << cost, span)?;
        let mut salt = [0u8; 16];
        salt.copy_from_slice(&self.random("bcrypt", span)?[..16]);
        let text = args.text(0).map_err(fail)?;
        func::crypto::bcrypt(&text, cost, &salt).map(Value::text).map_err(fail)
    }

    /// Random bytes, others each time.
    fn random(&self, function: &str, span: Span) -> Eval<[u8; 32]> {
        let Some(seed) = self.request.facts.random else {
            return fail(format!("`{function}` has no source of randomness here"), span);
        };
        let n = self.uuids.get();
        self.uuids.set(n + 1);
        Ok(Sha256::new().chain_update(seed).chain_update(n.to_le_bytes()).finalize().into())
    }

    /// All targets after matrix expansion.
    pub(crate) fn instances(&self) -> Eval<Rc<Vec<Instance>>> {
        if let Some(known) = self.instances.borrow().as_ref() {
            return Ok(Rc::clone(known));
        }
        if self.naming.replace(true) {
            return Err(Diagnostic::error(
                "the names of targets cannot depend on other targets",
                None,
            ));
        }
        let found = instances(self).map(Rc::new);
        self.naming.set(false);
        let found = found?;
        *self.instances.borrow_mut() = Some(Rc::clone(&found));
        Ok(found)
    }

    /// `target.NAME.ATTRIBUTE` or `group.NAME.ATTRIBUTE` and how many steps that took.
    pub(crate) fn block_value(
        &self,
        kind: &str,
        steps: &[(Step, Span)],
        span: Span,
    ) -> Eval<(Value, usize)> {
        let Some((Step::Attr(name), name_span)) = steps.first() else {
            let message = match steps.first() {
                None => format!("cannot access `{kind}` as a variable"),
                Some(_) => format!("cannot traverse `{kind}` without attribute"),
            };
            return fail(message, span);
        };
        let empty = Vec::new();
        let found = self.instances().map_err(|mut d| {
            d.span = d.span.or(Some(span));
            d
        })?;
        let blocks: Vec<(&Block, &Vec<(String, Value)>)> = match kind {
            "target" => found
                .iter()
                .filter(|i| i.name == *name)
                .map(|i| (&self.bake.targets[i.block], &i.vars))
                .collect(),
            _ => self
                .bake
                .groups
                .iter()
                .filter(|b| b.labels[0].0 == *name)
                .map(|b| (b, &empty))
                .collect(),
        };
        if blocks.is_empty() {
            let names = found.iter().map(|i| i.name.as_str());
            let d = Diagnostic::error(format!("there is no {kind} named `{name}`"), *name_span);
            return Err(suggest(d, name, names));
        }
        if let Some((Step::Attr(attr), attr_span)) = steps.get(1) {
            return Ok((self.block_attr(kind, name, attr, *attr_span, &blocks)?, 2));
        }
        let mut map = BTreeMap::new();
        for (block, _) in &blocks {
            for attr in &block.body.attrs {
                let value = self.block_attr(kind, name, &attr.name, *name_span, &blocks)?;
                map.insert(attr.name.clone(), value);
            }
        }
        let value = Value::Object(map);
        self.charge(value.weight(), span)?;
        Ok((value, 1))
    }

    fn block_attr(
        &self,
        kind: &str,
        name: &str,
        attr: &str,
        span: Span,
        blocks: &[(&Block, &Vec<(String, Value)>)],
    ) -> Eval<Value> {
        if attr == "name" {
            return Ok(Value::text(name));
        }
        let path = format!("{kind}.{name}.{attr}");
        if let Some(known) = self.failed.borrow().get(&path) {
            return Err(known.clone());
        }
        let value = self.block_attr_value(&path, kind, attr, span, blocks);
        if let Err(d) = &value {
            self.failed.borrow_mut().insert(path, d.clone());
        }
        value
    }

    fn block_attr_value(
        &self,
        path: &str,
        kind: &str,
        attr: &str,
        span: Span,
        blocks: &[(&Block, &Vec<(String, Value)>)],
    ) -> Eval<Value> {
        let _progress = self.begin(path).map_err(|chain| {
            Diagnostic::error(format!("reference cycle not allowed for `{path}`"), span)
                .with_hint(format!("the references are {chain}"))
        })?;
        for (block, vars) in blocks.iter().rev() {
            if let Some(attr) = block.body.attr(attr) {
                let value = self.eval(&attr.value, &Locals::new(vars))?;
                return crate::decode::seen(value, attr);
            }
        }
        let known = crate::decode::attributes(kind);
        if known.contains(&attr) {
            return Ok(Value::Null);
        }
        let d = Diagnostic::error(format!("there is no attribute `{attr}` of a {kind}"), span);
        Err(suggest(d, attr, known.iter().copied()))
    }
}

/// Something being evaluated; dropping it ends that.
pub(crate) struct Progress<'s>(&'s RefCell<Vec<String>>);

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().pop();
    }
}

fn arity(fewest: usize, most: usize) -> String {
    let s = |n: usize| if n == 1 { "" } else { "s" };
    match most {
        usize::MAX => format!("at least {fewest} argument{}", s(fewest)),
        most if most == fewest => format!("{fewest} argument{}", s(fewest)),
        most => format!("{fewest} to {most} arguments"),
    }
}
