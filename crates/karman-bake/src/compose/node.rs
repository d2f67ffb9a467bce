//! A YAML tree with places, and how the trees of several files are laid over each other.

use karman_diag::Span;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// What the tag asks for when it is laid over another.
    pub(super) edit: Option<Edit>,
}

/// What a value is. Numbers are kept as Go prints them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// An entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) value: Node,
}

/// A tag of compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// `!reset`: as if the key had never been written.
    Reset,
    /// `!override`: replaces what it is laid over.
    Override,
}

impl Edit {
    pub(super) fn of_tag(name: &str) -> Option<Self> {
        match name {
            "reset" => Some(Self::Reset),
            "override" => Some(Self::Override),
            _ => None,
        }
    }
}

impl Node {
    /// A value that no tag changes.
    pub(super) fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span, edit: None }
    }

    /// A string.
    pub(super) fn text(text: impl Into<String>, span: Span) -> Self {
        Self::new(Kind::String(text.into()), span)
    }

    /// How many values it holds, itself included.
    pub(super) fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Self::size).sum(),
            Kind::Map(entries) => entries.iter().map(|e| 1 + e.value.size()).sum::<usize>(),
            _ => 0,
        }
    }

    /// As text; `None` for null, lists and maps.
    pub(super) fn to_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Bool(yes) => Some(yes.to_string()),
            Kind::Number(text) | Kind::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// What people call its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "a bool",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|e| e.name == name)?;
        Some(&entry.value).filter(|v| !v.is_null())
    }

    /// The value of a key, to be changed.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::Map(entries) => entries.iter_mut().find(|e| e.name == name).map(|e| &mut e.value),
            _ => None,
        }
    }

    /// Sets a key of a mapping; anything else stays as it is.
    pub(super) fn set(&mut self, name: &str, value: Node) {
        if let Some(known) = self.get_mut(name) {
            *known = value;
        } else if let Kind::Map(entries) = &mut self.kind {
            let name_span = value.span;
            entries.push(Entry { name: name.to_owned(), name_span, value });
        }
    }

    /// Takes a key out of a mapping.
    pub(super) fn remove(&mut self, name: &str) -> Option<Node> {
        let Kind::Map(entries) = &mut self.kind else { return None };
        let at = entries.iter().position(|e| e.name == name)?;
        Some(entries.remove(at).value)
    }
}

/// Lays `over` over `base`: maps by key, lists one after the other, anything else replaces.
pub(super) fn merge(base: &mut Node, over: Node) {
    if over.edit == Some(Edit::Override) {
        *base = Node { edit: None, ..over };
        return;
    }
    match (&mut base.kind, over.kind) {
        (Kind::Map(known), Kind::Map(entries)) => {
            for entry in entries {
                if entry.value.edit == Some(Edit::Reset) {
                    known.retain(|k| k.name != entry.name);
                    continue;
                }
                match known.iter_mut().find(|k| k.name == entry.name) {
                    Some(at) => merge(&mut at.value, entry.value),
                    None => known.push(entry),
                }
            }
        }
        (Kind::List(known), Kind::List(items)) => known.extend(items),
        (_, Kind::Null) => {}
        (kind, other) => {
            *kind = other;
            base.span = over.span;
        }
    }
}

/// Drops what `!reset` marks, once there is nothing more to lay over.
pub(super) fn drop_resets(node: &mut Node) {
    match &mut node.kind {
        Kind::Map(entries) => {
            entries.retain(|e| e.value.edit != Some(Edit::Reset));
            entries.iter_mut().for_each(|e| drop_resets(&mut e.value));
        }
        Kind::List(items) => {
            items.retain(|i| i.edit != Some(Edit::Reset));
            items.iter_mut().for_each(drop_resets);
        }
        _ => {}
    }
}
