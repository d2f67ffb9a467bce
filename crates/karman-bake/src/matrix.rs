//! Matrix expansion: one target block to one target for each combination of values.

use std::collections::BTreeMap;

use karman_diag::Diagnostic;

use crate::eval::{Eval, Locals, fail};
use crate::limits::{MAX_MATRIX, MAX_TARGETS};
use crate::scope::Scope;
use crate::syntax::ast::Block;
use crate::value::Value;

/// A target a block stands for, with the matrix values it sees.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Index into the target blocks.
    pub(crate) block: usize,
    pub(crate) name: String,
    pub(crate) vars: Vec<(String, Value)>,
}

/// All targets in the order of their blocks.
pub(crate) fn instances(scope: &Scope<'_>) -> Eval<Vec<Instance>> {
    let mut all = Vec::new();
    for (index, block) in scope.bake.targets.iter().enumerate() {
        let start = all.len();
        for vars in combinations(scope, block)? {
            let name = name(scope, block, &vars)?;
            all.push(Instance { block: index, name, vars });
        }
        check(&all[start..], block)?;
        if all.len() > MAX_TARGETS {
            return fail(format!("more than {MAX_TARGETS} targets"), block.span);
        }
    }
    Ok(all)
}

fn check(made: &[Instance], block: &Block) -> Eval<()> {
    let mut seen = BTreeMap::new();
    for instance in made {
        if seen.insert(&instance.name, ()).is_some() {
            let span = block.body.attr("name").map_or(block.span, |a| a.value.span);
            return Err(Diagnostic::error(format!("duplicate name `{}`", instance.name), span)
                .with_hint("the `name` of a matrix target must use every matrix value"));
        }
    }
    Ok(())
}

fn combinations(scope: &Scope<'_>, block: &Block) -> Eval<Vec<Vec<(String, Value)>>> {
    let Some(attr) = block.body.attr("matrix") else { return Ok(vec![Vec::new()]) };
    let span = attr.value.span;
    let Value::Object(matrix) = scope.eval(&attr.value, &Locals::default())? else {
        return fail("matrix must be a map", span);
    };
    let mut all: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    for (key, values) in matrix {
        let Value::List(values) = values else {
            return fail(format!("matrix values must be a list: `{key}` is not"), span);
        };
        if all.len().saturating_mul(values.len()) > MAX_MATRIX {
            return fail(format!("the matrix has more than {MAX_MATRIX} combinations"), span);
        }
        // The first axis varies slowest, as people read a matrix.
        all = all
            .into_iter()
            .flat_map(|vars| {
                let key = key.clone();
                values
                    .iter()
                    .map(move |value| {
                        let mut vars = vars.clone();
                        vars.push((key.clone(), value.clone()));
                        vars
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    Ok(all)
}

fn name(scope: &Scope<'_>, block: &Block, vars: &[(String, Value)]) -> Eval<String> {
    let (label, label_span) = &block.labels[0];
    let Some(attr) = block.body.attr("name") else { return Ok(label.clone()) };
    if block.body.attr("matrix").is_none() {
        return fail("name requires matrix", attr.name_span);
    }
    let value = scope.eval(&attr.value, &Locals::new(vars))?;
    let Some(name) = value.to_text() else {
        return fail(
            format!("a target name must be a string, not {}", value.type_name()),
            attr.value.span,
        );
    };
    if !valid_name(&name) {
        return Err(bad_name(&name, attr.value.span).with_hint(format!(
            "`sanitize(…)` makes a name of any string, such as that of `{label}`"
        )))
        .map_err(|d| Diagnostic { span: d.span.or(Some(*label_span)), ..d });
    }
    Ok(name)
}

/// Whether a target or group may have that name.
pub(crate) fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The error for a name that is not valid.
pub(crate) fn bad_name(name: &str, span: karman_diag::Span) -> Diagnostic {
    Diagnostic::error(format!("invalid name `{name}`: only \"[a-zA-Z0-9_-]+\" are allowed"), span)
}
