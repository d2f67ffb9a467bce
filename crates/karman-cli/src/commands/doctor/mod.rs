//! `karman doctor`: what this host can do, and how to fix what it cannot.
//!
//! The facts about the user are only visible outside the user namespace, and whether overlays work
//! only inside. So the command looks around itself and starts itself once more for the inside.

mod checks;
mod inside;

use karman_diag::ExitCode;
use serde::Serialize;

use crate::failure::Done;
use crate::out;
use crate::setup::{Context, GlobalArgs};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look from inside the namespaces (the command starts itself with this)
    #[arg(long, hide = true)]
    inside: bool,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Good.
    Ok,
    /// Builds work, but something is missing.
    Warn,
    /// Builds cannot work.
    Fail,
}

/// One thing looked at.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// What.
    pub(crate) name: &'static str,
    /// How it went.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Check {
    /// Good.
    pub(crate) fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, message: message.into(), fix: None }
    }

    /// Good enough.
    pub(crate) fn warn(
        name: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self { name, status: Status::Warn, message: message.into(), fix }
    }

    /// Not good enough.
    pub(crate) fn fail(
        name: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self { name, status: Status::Fail, message: message.into(), fix }
    }
}

/// Looks around and tells.
pub(crate) fn run(args: &Args, global: GlobalArgs) -> Done {
    if args.inside {
        return inside::report(&Context::without_file(global));
    }
    let all = match Context::load(global.clone()) {
        Ok(context) => checks::all(&context, None),
        // A broken configuration is something to tell, not a reason to say nothing else.
        Err(failure) => checks::all(&Context::without_file(global), Some(failure)),
    };
    let works = all.iter().all(|c| c.status != Status::Fail);
    let text = if args.json {
        format!("{:#}\n", serde_json::json!({ "works": works, "checks": all }))
    } else {
        render(&all, works)
    };
    out::data(&text)?;
    Ok(if works { ExitCode::Success.code() } else { ExitCode::Host.code() })
}

fn render(all: &[Check], works: bool) -> String {
    let width = all.iter().map(|c| c.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in all {
        let word = match check.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        text.push_str(&format!("{word}  {:width$}  {}\n", check.name, check.message));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("      {:width$}  fix: {fix}\n", ""));
        }
    }
    text.push_str(if works { "\nBuilds work here.\n" } else { "\nBuilds cannot work here yet.\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_how_it_is_and_how_to_mend_it() {
        let all =
            [Check::ok("kernel", "6.1"), Check::fail("store", "not writable", "use `--root`")];
        let want = "\
ok    kernel  6.1
fail  store   not writable
              fix: use `--root`

Builds cannot work here yet.
";
        assert_eq!(render(&all, false), want);
    }
}
