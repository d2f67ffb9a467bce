//! Which versions an advisory affects: OSV's evaluation algorithm with PEP 440's order.

use std::cmp::Ordering;
use std::str::FromStr as _;

use pep440_rs::Version;

/// A version in an advisory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// As written.
    pub text: String,
    version: Version,
}

/// An installed version, as an advisory looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    text: String,
    full: Version,
    public: Version,
}

/// Where something begins or ends. An absent version of `Introduced` is the beginning of time, an
/// absent one of `Limit` has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Affected from here on.
    Introduced(Option<Bound>),
    /// Not affected from here on.
    Fixed(Bound),
    /// Not affected after this.
    LastAffected(Bound),
    /// Nothing is said about this and what follows.
    Limit(Option<Bound>),
}

/// The versions of one `affected` entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affected {
    /// Versions that are named one by one, as written.
    pub versions: Vec<String>,
    /// Ranges; the events of each are sorted by version.
    pub ranges: Vec<Vec<Event>>,
}

impl Bound {
    /// `None` where the text is no version of PEP 440.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let version = Version::from_str(text.trim()).ok()?;
        Some(Self { text: text.trim().to_owned(), version })
    }

    /// Whether it is a pre-release.
    pub(crate) fn is_pre(&self) -> bool {
        self.version.any_prerelease()
    }

    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.version.cmp(&other.version)
    }
}

impl Subject {
    /// `None` where the text is no version of PEP 440.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let full = Version::from_str(text).ok()?;
        let public = full.clone().without_local();
        Some(Self { text: text.to_owned(), full, public })
    }

    /// A local version stands where its public version stands, unless the advisory itself names a
    /// local version there (PEP 440: a local version is the public one with patches of a site).
    pub(crate) fn order(&self, bound: &Bound) -> Ordering {
        if bound.version.is_local() {
            return self.full.cmp(&bound.version);
        }
        self.public.cmp(&bound.version)
    }

    fn is_named(&self, text: &str) -> bool {
        if text.eq_ignore_ascii_case(&self.text) {
            return true;
        }
        match Version::from_str(text) {
            Ok(version) if version.is_local() => version == self.full,
            Ok(version) => version == self.public,
            Err(_) => false,
        }
    }
}

impl Event {
    /// The version it is about.
    pub(crate) fn bound(&self) -> Option<&Bound> {
        match self {
            Self::Introduced(bound) | Self::Limit(bound) => bound.as_ref(),
            Self::Fixed(bound) | Self::LastAffected(bound) => Some(bound),
        }
    }
}

impl Affected {
    /// Whether `subject` is affected: named, or inside a range (OSV, "Evaluation").
    pub(crate) fn contains(&self, subject: &Subject) -> bool {
        self.ranges.iter().any(|events| in_range(events, subject))
            || self.versions.iter().any(|text| subject.is_named(text))
    }

    /// The versions that hold a fix.
    pub(crate) fn fixes(&self) -> impl Iterator<Item = &Bound> {
        self.ranges.iter().flatten().filter_map(|event| match event {
            Event::Fixed(bound) => Some(bound),
            _ => None,
        })
    }

    /// The last versions that are affected, where a range ends so.
    pub(crate) fn lasts(&self) -> impl Iterator<Item = &Bound> {
        self.ranges.iter().flatten().filter_map(|event| match event {
            Event::LastAffected(bound) => Some(bound),
            _ => None,
        })
    }
}

/// Puts events in order; those of one version stay as they were written.
pub(super) fn sort(events: &mut [Event]) {
    events.sort_by(|a, b| match (a.bound(), b.bound()) {
        (Some(a), Some(b)) => a.order(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
}

fn in_range(events: &[Event], subject: &Subject) -> bool {
    let mut limits = events.iter().filter(|e| matches!(e, Event::Limit(_))).peekable();
    if limits.peek().is_some() {
        let before = |e: &Event| e.bound().is_none_or(|b| subject.order(b) == Ordering::Less);
        if !limits.any(before) {
            return false;
        }
    }
    let mut affected = false;
    for event in events {
        match event {
            Event::Introduced(bound) => {
                let reached = |b: &Bound| subject.order(b) != Ordering::Less;
                affected |= bound.as_ref().is_none_or(reached);
            }
            Event::Fixed(bound) => affected &= subject.order(bound) == Ordering::Less,
            Event::LastAffected(bound) => affected &= subject.order(bound) != Ordering::Greater,
            Event::Limit(_) => {}
        }
    }
    affected
}
