//! Accepted risks: advisories that the fleet lives with for a while, and why.
//!
//! The words are those of VEX (OpenVEX 0.2.0, "Status Justifications"): a product is either *not
//! affected*, with a justification, or *affected*, with what is done about it.

use std::fmt;
use std::str::FromStr;

use karman_diag::{Diagnostic, Span, nearest};

use crate::table::{Complaints, Table};
use crate::{Date, PackageName, Series};

/// The keys of `[[accepted]]`.
pub(crate) const ACCEPTED_KEYS: [&str; 7] =
    ["advisory", "package", "justification", "action", "statement", "decided", "expires"];

/// One advisory that is accepted for one distribution until a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The advisory by any of its identifiers.
    pub advisory: String,
    /// The distribution.
    pub package: PackageName,
    /// Why it is accepted.
    pub stance: Stance,
    /// Why that is so here, on one line.
    pub statement: String,
    /// The day of the decision; VEX documents carry it.
    pub decided: Date,
    /// The last day on which it holds.
    pub expires: Date,
    /// Where `advisory` stands.
    pub span: Span,
}

/// What VEX calls status, with what it asks for beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stance {
    /// `not_affected`.
    NotAffected(Justification),
    /// `affected`, with what is done about it, on one line.
    Affected(String),
}

/// Why a product is not affected, in OpenVEX's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justification {
    /// The component is not in the product.
    ComponentNotPresent,
    /// The component is there without the vulnerable code: a backported fix, for one.
    VulnerableCodeNotPresent,
    /// The vulnerable code is never run.
    VulnerableCodeNotInExecutePath,
    /// It is run, but never on input of an attacker.
    VulnerableCodeCannotBeControlledByAdversary,
    /// Something else keeps the attack away.
    InlineMitigationsAlreadyExist,
}

/// No word of VEX's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a justification of VEX")]
pub struct JustificationError(String);

impl Justification {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ComponentNotPresent,
        Self::VulnerableCodeNotPresent,
        Self::VulnerableCodeNotInExecutePath,
        Self::VulnerableCodeCannotBeControlledByAdversary,
        Self::InlineMitigationsAlreadyExist,
    ];

    /// OpenVEX's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ComponentNotPresent => "component_not_present",
            Self::VulnerableCodeNotPresent => "vulnerable_code_not_present",
            Self::VulnerableCodeNotInExecutePath => "vulnerable_code_not_in_execute_path",
            Self::VulnerableCodeCannotBeControlledByAdversary => {
                "vulnerable_code_cannot_be_controlled_by_adversary"
            }
            Self::InlineMitigationsAlreadyExist => "inline_mitigations_already_exist",
        }
    }
}

impl FromStr for Justification {
    type Err = JustificationError;

    fn from_str(text: &str) -> Result<Self, JustificationError> {
        let found = Self::ALL.into_iter().find(|j| j.as_str() == text);
        found.ok_or_else(|| JustificationError(text.to_owned()))
    }
}

impl fmt::Display for Justification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Accepted {
    /// Whether it still holds on `today`.
    pub fn holds(&self, today: Date) -> bool {
        today <= self.expires
    }
}

/// An error for every accepted risk whose day has passed on `today`.
pub(crate) fn expired(series: &Series, today: Date) -> Vec<Diagnostic> {
    let gone = series.accepted.iter().filter(|a| !a.holds(today));
    gone.map(|a| {
        let message =
            format!("the acceptance of {} for `{}` expired on {}", a.advisory, a.package, a.expires);
        Diagnostic::error(message, a.span).with_code("AcceptedExpired").with_hint(
            "mend the distribution (`karman constraints fix`), or look again and set a later `expires`",
        )
    })
    .collect()
}

pub(crate) fn read_accepted(table: &Table<'_>, complaints: &mut Complaints) -> Option<Accepted> {
    let advisory = table.required("advisory", complaints);
    if let Some(text) = &advisory {
        crate::read::check_advisory(text, complaints);
    }
    let package = crate::read::package(table, complaints);
    let statement = crate::read::sentence(table, "statement", complaints);
    let stance = read_stance(table, complaints);
    let mut day = |key: &str| {
        let text = table.required(key, complaints)?;
        crate::read::date(&text, complaints)
    };
    let (decided, expires) = (day("decided"), day("expires"));
    let advisory = advisory?;
    if let (Some(decided), Some(expires)) = (decided, expires)
        && expires < decided
    {
        complaints.error("this risk expires before it was decided", advisory.span);
    }
    Some(Accepted {
        advisory: advisory.value,
        package: package?,
        stance: stance?,
        statement: statement?,
        decided: decided?,
        expires: expires?,
        span: advisory.span,
    })
}

fn read_stance(table: &Table<'_>, complaints: &mut Complaints) -> Option<Stance> {
    match (table.value("justification"), table.value("action")) {
        (Some(_), Some(_)) => {
            let message = "an accepted risk has a `justification` or an `action`, not both";
            complaints.error(message, table.span);
            None
        }
        (None, None) => {
            complaints.error_with_hint(
                "an accepted risk without `justification`",
                table.span,
                "say why the fleet is not affected, or, where it is, what is done about it: `action = \"…\"`",
            );
            None
        }
        (None, Some(_)) => crate::read::sentence(table, "action", complaints).map(Stance::Affected),
        (Some(_), None) => {
            let text = table.string("justification", complaints)?;
            let words = || Justification::ALL.into_iter().map(Justification::as_str);
            match text.value.parse::<Justification>() {
                Ok(justification) => Some(Stance::NotAffected(justification)),
                Err(error) => {
                    let hint = match nearest(&text.value, words()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("one of: {}", words().collect::<Vec<_>>().join(", ")),
                    };
                    complaints.error_with_hint(error.to_string(), text.span, hint);
                    None
                }
            }
        }
    }
}
