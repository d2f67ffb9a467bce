//! Type constraints (`list(string)`, `object({…})`) and conversion to them, after HCL's `typeexpr`.

use std::collections::BTreeMap;
use std::fmt;

use karman_diag::{Diagnostic, nearest};

use crate::syntax::ast::{Expr, Kind};
use crate::value::Value;

const NAMES: [&str; 9] =
    ["string", "number", "bool", "any", "list", "set", "map", "object", "tuple"];

/// A type constraint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    Object(BTreeMap<String, Field>),
}

/// An attribute of an object type; optional ones may have a default.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    ty: Type,
    optional: bool,
    default: Option<Value>,
}

/// A value does not fit a type; the parts complete the sentence `… required`.
#[derive(Debug)]
pub(crate) struct Mismatch {
    pub(crate) wanted: String,
    pub(crate) path: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} required", self.wanted)
    }
}

impl Type {
    /// The type an expression names; `constant` evaluates the defaults of optional attributes.
    pub(crate) fn of_expr(
        expr: &Expr,
        constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        match &expr.kind {
            Kind::Literal(Value::String(text)) => {
                // JSON files quote type expressions.
                let inner = crate::syntax::parse_expr(text, expr.span)?;
                match inner.kind {
                    Kind::Literal(_) => Err(unknown(expr, "a type keyword is expected")),
                    _ => Self::of_expr(&inner, constant),
                }
            }
            Kind::Variable(name) => match name.as_str() {
                "string" => Ok(Self::String),
                "number" => Ok(Self::Number),
                "bool" => Ok(Self::Bool),
                "any" => Ok(Self::Any),
                "list" | "set" | "map" => {
                    Err(unknown(expr, &format!("the `{name}` type needs an element type"))
                        .with_hint(format!("write `{name}(string)`")))
                }
                _ => {
                    let d = unknown(expr, &format!("`{name}` is not a type"));
                    Err(match nearest(name, NAMES) {
                        Some(near) => d.with_hint(format!("did you mean `{near}`?")),
                        None => d,
                    })
                }
            },
            Kind::Call(call) => {
                let [arg] = call.args.as_slice() else {
                    return Err(unknown(expr, &format!("`{}` takes one argument", call.name)));
                };
                Self::of_call(&call.name, arg, expr, constant)
            }
            _ => Err(unknown(expr, "a type is expected")),
        }
    }

    fn of_call(
        name: &str,
        arg: &Expr,
        expr: &Expr,
        constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let inner = |e: &Expr| Self::of_expr(e, constant);
        match (name, &arg.kind) {
            ("list", _) => Ok(Self::List(Box::new(inner(arg)?))),
            ("set", _) => Ok(Self::Set(Box::new(inner(arg)?))),
            ("map", _) => Ok(Self::Map(Box::new(inner(arg)?))),
            ("tuple", Kind::Array(items)) => {
                Ok(Self::Tuple(items.iter().map(inner).collect::<Result<_, _>>()?))
            }
            ("object", Kind::Object(entries)) => {
                let mut fields = BTreeMap::new();
                for (key, value) in entries {
                    let Some(name) = key.as_keyword() else {
                        return Err(unknown(key, "an attribute name is expected"));
                    };
                    fields.insert(name.to_owned(), Field::of_expr(value, constant)?);
                }
                Ok(Self::Object(fields))
            }
            ("tuple" | "object", _) => Err(unknown(expr, &format!("malformed `{name}` type"))),
            _ => Err(unknown(expr, &format!("`{name}` is not a type"))),
        }
    }

    /// Whether values of it are strings, numbers or truth values.
    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::String | Self::Number | Self::Bool)
    }

    /// The type a value has, for variables without a constraint; `None` for null.
    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::List(items) => Self::List(Box::new(common(items.iter()))),
            Value::Object(map) => Self::Map(Box::new(common(map.values()))),
        })
    }

    /// The value as this type. Null fits every type.
    pub(crate) fn convert(&self, value: Value) -> Result<Value, Mismatch> {
        let wrong = || Mismatch { wanted: self.to_string(), path: String::new() };
        match (self, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Self::Any, value) => Ok(value),
            (Self::String, value) => value.to_text().map(Value::String).ok_or_else(wrong),
            (Self::Number, value) => value.to_number().map(Value::Number).ok_or_else(wrong),
            (Self::Bool, value) => value.to_bool().map(Value::Bool).ok_or_else(wrong),
            (Self::List(ty), Value::List(items)) => ty.convert_all(items).map(Value::List),
            (Self::Set(ty), Value::List(items)) => {
                Ok(Value::List(crate::func::collection::as_set(ty.convert_all(items)?)))
            }
            (Self::Tuple(types), Value::List(items)) if types.len() == items.len() => {
                let each = types.iter().zip(items).enumerate();
                let all =
                    each.map(|(i, (ty, v))| ty.convert(v).map_err(|m| m.at(&format!("[{i}]"))));
                Ok(Value::List(all.collect::<Result<_, _>>()?))
            }
            (Self::Map(ty), Value::Object(map)) => {
                let all = map.into_iter().map(|(k, v)| match ty.convert(v) {
                    Ok(v) => Ok((k, v)),
                    Err(m) => Err(m.at(&format!("[{k:?}]"))),
                });
                Ok(Value::Object(all.collect::<Result<_, _>>()?))
            }
            (Self::Object(fields), Value::Object(map)) => convert_object(fields, map),
            _ => Err(wrong()),
        }
    }

    fn convert_all(&self, items: Vec<Value>) -> Result<Vec<Value>, Mismatch> {
        let each = items.into_iter().enumerate();
        each.map(|(i, v)| self.convert(v).map_err(|m| m.at(&format!("[{i}]")))).collect()
    }
}

impl Field {
    fn of_expr(
        expr: &Expr,
        constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let Kind::Call(call) = &expr.kind else {
            return Ok(Self { ty: Type::of_expr(expr, constant)?, optional: false, default: None });
        };
        match (call.name.as_str(), call.args.as_slice()) {
            ("optional", [ty]) => {
                Ok(Self { ty: Type::of_expr(ty, constant)?, optional: true, default: None })
            }
            ("optional", [ty, default]) => {
                let ty = Type::of_expr(ty, constant)?;
                let value = ty.convert(constant(default)?);
                let value = value.map_err(|m| Diagnostic::error(m.to_string(), default.span))?;
                Ok(Self { ty, optional: true, default: Some(value) })
            }
            _ => Ok(Self { ty: Type::of_expr(expr, constant)?, optional: false, default: None }),
        }
    }
}

impl Mismatch {
    fn at(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

fn convert_object(
    fields: &BTreeMap<String, Field>,
    mut map: BTreeMap<String, Value>,
) -> Result<Value, Mismatch> {
    let mut out = BTreeMap::new();
    for (name, field) in fields {
        let value = match map.remove(name) {
            Some(Value::Null) | None if field.default.is_some() => {
                field.default.clone().unwrap_or(Value::Null)
            }
            Some(value) => field.ty.convert(value).map_err(|m| m.at(&format!(".{name}")))?,
            None if field.optional => Value::Null,
            None => {
                return Err(Mismatch {
                    wanted: format!("attribute `{name}`"),
                    path: String::new(),
                });
            }
        };
        out.insert(name.clone(), value);
    }
    Ok(Value::Object(out))
}

/// The type all values have in common; `Any` where they have none.
fn common<'a>(values: impl Iterator<Item = &'a Value>) -> Type {
    let mut found: Option<Type> = None;
    for ty in values.filter_map(Type::of_value) {
        found = match found {
            None => Some(ty),
            Some(f) if f == ty => Some(f),
            Some(f) if f.is_primitive() && ty.is_primitive() => Some(Type::String),
            Some(_) => return Type::Any,
        };
    }
    found.unwrap_or(Type::Any)
}

fn unknown(expr: &Expr, message: &str) -> Diagnostic {
    Diagnostic::error(format!("invalid type: {message}"), expr.span)
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::String => f.write_str("string"),
            Self::Number => f.write_str("number"),
            Self::Bool => f.write_str("bool"),
            Self::List(ty) => write!(f, "list({ty})"),
            Self::Set(ty) => write!(f, "set({ty})"),
            Self::Map(ty) => write!(f, "map({ty})"),
            Self::Tuple(types) => {
                let all: Vec<String> = types.iter().map(Type::to_string).collect();
                write!(f, "tuple([{}])", all.join(", "))
            }
            Self::Object(fields) => {
                let all: Vec<String> = fields
                    .iter()
                    .map(|(k, v)| match v.optional {
                        true => format!("{k} = optional({})", v.ty),
                        false => format!("{k} = {}", v.ty),
                    })
                    .collect();
                write!(f, "object({{{}}})", all.join(", "))
            }
        }
    }
}
