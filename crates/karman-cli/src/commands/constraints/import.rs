//! `karman constraints import`.

use std::path::Path;

use karman_constraints::{
    MAX_COMPILED_BYTES, apply, diff, parse_compiled, render_diff, write_imported,
};
use karman_diag::ExitCode;
use karman_oci::Digest;

use super::advisories::{client, is_url};
use super::lock::write_files;
use super::place::{Dir, pins, read};
use crate::failure::{Done, Failure, chain};
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// [SERIES] and the file or URL; the series may be left out where DIR has only one
    #[arg(value_name = "[SERIES] FILE|URL", num_args = 1..=2, required = true)]
    words: Vec<String>,
    #[command(flatten)]
    dir: Dir,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let (series, from) = match args.words.as_slice() {
        [series, from] => (Some(series.as_str()), from),
        [from] => (None, from),
        _ => return Err(Failure::usage("name a file or URL")),
    };
    let place = args.dir.place(series, context)?;
    let loaded = place.load(context)?;
    let text = fetch(from, context)?;
    let imported = pins(Path::new(from), &text)?;
    // What the series cannot live with is said before anything is written.
    apply(&loaded.series, &imported).map_err(|found| loaded.failure(&found))?;
    let path = place.imported();
    let old = std::fs::read_to_string(context.env.absolute(&path)).unwrap_or_default();
    // All of a first import is new: that is no difference worth five hundred lines.
    if let Ok(old) = parse_compiled(&old)
        && !old.is_empty()
    {
        out::data(&render_diff(&diff(&old, &imported)))?;
    }
    let sha256 = Digest::sha256_of(text.as_bytes()).hex();
    let series = write_imported(&loaded.text, from, &sha256).map_err(|e| Failure::Rendered {
        text: format!("ERROR: {}: {}\n", place.source().display(), chain(&e)),
        exit: ExitCode::Input,
    })?;
    let mut files = vec![(path, text.as_str())];
    if series != loaded.text {
        files.push((place.source(), series.as_str()));
    }
    write_files(&files, context)?;
    out::note(&format!(
        "{} pins; `karman constraints lock {}` shows that the fleet resolves under them\n",
        imported.len(),
        place.series
    ));
    Ok(0)
}

fn fetch(from: &str, context: &Context) -> Done<String> {
    if !is_url(from) {
        return read(Path::new(from), context);
    }
    let failed = |e: &dyn std::error::Error| Failure::Rendered {
        text: format!("ERROR: {}\n", chain(e)),
        exit: ExitCode::Fetch,
    };
    let response = client(context)?.get(from, &[]).and_then(karman_net::Response::error_for_status);
    let response = response.map_err(|e| failed(&e))?;
    let bytes = response.read_to_limit(MAX_COMPILED_BYTES as u64).map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}
