//! Bake files that are not local: in a git repository, in an archive by HTTP, or one file by HTTP.

use karman_control::{Backend, Session};
use karman_llb::SourceOp;

use crate::error::{PlanError, Problem, Step, gather};
use crate::location::Location;
use crate::plan::Planner;
use crate::spec::BuildFacts;

/// A larger file is no bake file.
const MAX_FILE: u64 = 4 << 20;

/// What a remote place holds.
#[derive(Debug)]
pub struct Definition {
    /// Names and texts.
    pub files: Vec<(String, String)>,
    /// Whether the place is nothing but this one file, so that contexts are local.
    pub is_file: bool,
}

/// Whether an argument names a remote place rather than a target.
pub fn is_remote(text: &str) -> bool {
    matches!(
        Location::parse(text, false, |_| false),
        Ok(Location::Git(_) | Location::Http(_)) | Err(_)
    )
}

/// Reads the bake files `names` of `url`, or those of `defaults` that are there where none is named.
///
/// # Errors
/// [`PlanError`] where the place cannot be fetched or has no such file.
pub fn read_definition(
    backend: &dyn Backend,
    url: &str,
    names: &[String],
    defaults: &[&str],
    facts: &BuildFacts,
    session: &mut Session,
) -> Result<Definition, PlanError> {
    let mut planner = Planner::new(backend, facts, session, false);
    let found = planner.definition(url, names, defaults);
    found.map_err(|problem| gather(vec![("bake".to_owned(), problem)], planner.sources, false))
}

impl Planner<'_> {
    fn definition(&mut self, url: &str, names: &[String], defaults: &[&str]) -> Step<Definition> {
        let shown = karman_llb::shown_remote(url);
        let (vertex, bytes) = match Location::parse(url, false, |_| false)? {
            Location::Git(git) => {
                let title = format!("[internal] load git source {shown}");
                (self.add_source(SourceOp::Git(git), title), None)
            }
            Location::Http(url) => {
                self.http_context(&url, "[internal] load remote bake definition")?
            }
            _ => return Err(Problem::usage(format!("`{shown}` is not a URL"))),
        };
        if let Some(bytes) = bytes {
            return Ok(Definition {
                files: vec![(shown.clone(), text(bytes, &shown)?)],
                is_file: true,
            });
        }
        let mut files = Vec::new();
        let wanted: Vec<&str> = match names.is_empty() {
            true => defaults.to_vec(),
            false => names.iter().map(String::as_str).collect(),
        };
        for name in &wanted {
            match self.read_remote(vertex, name, MAX_FILE)? {
                Some(bytes) => files.push(((*name).to_owned(), text(bytes, name)?)),
                None if names.is_empty() => {}
                None => return Err(Problem::input(format!("`{shown}` has no file `{name}`"))),
            }
        }
        if files.is_empty() {
            return Err(Problem::input_hint(
                format!("there is no bake file in `{shown}`"),
                format!("name one with `-f`; looked for {}", wanted.join(", ")),
            ));
        }
        Ok(Definition { files, is_file: false })
    }
}

fn text(bytes: Vec<u8>, name: &str) -> Step<String> {
    String::from_utf8(bytes).map_err(|_| Problem::input(format!("`{name}` is not UTF-8")))
}
