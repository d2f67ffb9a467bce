//! The table of images, their findings and start-up times, and each image in full.

use super::super::Sharing;
use super::super::model::{Fleet, Image, Unit};
use super::html::{Table, bytes, escape};
use super::treemap;

/// Rows of the table of origins of an image; the rest is one row.
const MAX_ORIGINS: usize = 40;
/// Findings of a fleet that are listed, those that fail first.
const MAX_FINDINGS: usize = 500;

/// All images with their numbers.
pub(super) fn table(fleet: &Fleet, sharing: &Sharing) -> String {
    let audited = fleet.images.iter().any(|i| i.findings.is_some());
    let started = fleet.images.iter().any(|i| !i.starts.is_empty());
    let mut columns = vec![
        ("Image", false),
        ("Compressed", true),
        ("Own layers", true),
        ("Unpacked", true),
        ("Files", true),
        ("Debian packages", true),
        ("Python distributions", true),
        ("Layers", true),
    ];
    if audited {
        columns.push(("Findings that fail", true));
    }
    if started {
        columns.push(("Slowest start", true));
    }
    let mut table = Table::new("Images", &columns);
    for (at, image) in fleet.images.iter().enumerate() {
        let mut cells = vec![
            format!("<a href=\"#image-{at}\">{}</a>", escape(&image.name)),
            bytes(image.compressed),
            bytes(sharing.own(at)),
            bytes(image.unpacked),
            image.files.to_string(),
            image.packages.len().to_string(),
            image.distributions.len().to_string(),
            image.layers.len().to_string(),
        ];
        if audited {
            let failing =
                |f: &Vec<_>| f.iter().filter(|f: &&super::super::model::Found| f.fails).count();
            cells.push(image.findings.as_ref().map_or("–".to_owned(), |f| failing(f).to_string()));
        }
        if started {
            let slowest = image.starts.iter().map(|s| s.milliseconds).max();
            cells.push(slowest.map_or("–".to_owned(), seconds));
        }
        table.row(&cells);
    }
    table.end()
}

fn seconds(milliseconds: u64) -> String {
    format!("<data value=\"{milliseconds}\">{:.2} s</data>", milliseconds as f64 / 1000.0)
}

/// How long each program takes to start.
pub(super) fn starts(fleet: &Fleet) -> String {
    let columns = [("Program", false), ("Image", false), ("Time", true), ("", false)];
    let mut table =
        Table::new("Start-up times: the interpreter and the program's modules", &columns);
    let mut all: Vec<_> =
        fleet.images.iter().flat_map(|i| i.starts.iter().map(move |s| (i, s))).collect();
    all.sort_by(|(a, s), (b, t)| {
        t.milliseconds
            .cmp(&s.milliseconds)
            .then_with(|| (&a.name, &s.script).cmp(&(&b.name, &t.script)))
    });
    let longest = all.iter().map(|(_, s)| s.milliseconds).max().unwrap_or(1).max(1);
    for (image, start) in all {
        let width = 100.0 * start.milliseconds as f64 / longest as f64;
        table.row(&[
            escape(&start.script),
            escape(&image.name),
            seconds(start.milliseconds),
            format!("<span class=\"bar\" style=\"width:{width:.1}%\"></span>"),
        ]);
    }
    table.end()
}

/// What the audits found.
pub(super) fn findings(fleet: &Fleet) -> String {
    let mut all: Vec<_> = fleet
        .images
        .iter()
        .flat_map(|i| i.findings.iter().flatten().map(move |f| (i, f)))
        .collect();
    if all.is_empty() {
        return "<p>None.</p>\n".to_owned();
    }
    all.sort_by_key(|(_, f)| !f.fails);
    let columns = [
        ("Verdict", false),
        ("Image", false),
        ("Rule", false),
        ("Subject", false),
        ("What", false),
    ];
    let mut table = Table::new("Findings of the audits", &columns);
    for (image, found) in all.iter().take(MAX_FINDINGS) {
        let verdict = if found.fails { "<b class=\"fails\">fails</b>" } else { "noted" };
        table.row(&[
            verdict.to_owned(),
            escape(&image.name),
            escape(&found.rule),
            escape(&found.subject),
            escape(&found.message),
        ]);
    }
    let more = all.len().saturating_sub(MAX_FINDINGS);
    let note =
        if more > 0 { format!("<p>{more} more are in the JSON.</p>\n") } else { String::new() };
    table.end() + &note
}

/// Every image in full, closed at first.
pub(super) fn details(fleet: &Fleet) -> String {
    let one = |(at, image): (usize, &Image)| {
        format!(
            "<details id=\"image-{at}\">\n<summary>{} <code>{}</code> {}</summary>\n{}{}{}{}{}</details>\n",
            escape(&image.name),
            escape(image.digest.get(..19).unwrap_or(&image.digest)),
            escape(&image.platform),
            treemap::of_image(image, at),
            layers(image),
            origins(image),
            units("Python distributions", &image.distributions),
            units("Debian packages", &image.packages),
        )
    };
    fleet.images.iter().enumerate().map(one).collect()
}

fn layers(image: &Image) -> String {
    let mut table = Table::new(
        "Layers",
        &[("Number", true), ("Compressed", true), ("What", false), ("Digest", false)],
    );
    for (at, layer) in image.layers.iter().enumerate() {
        let digest = layer.digest.to_string();
        table.row(&[
            (at + 1).to_string(),
            bytes(layer.size),
            escape(&layer.title),
            format!("<code>{}</code>", escape(digest.get(..19).unwrap_or(&digest))),
        ]);
    }
    table.end()
}

fn origins(image: &Image) -> String {
    let columns = [
        ("Origin", false),
        ("Kind", false),
        ("Version", false),
        ("Bytes", true),
        ("Of them bytecode", true),
        ("Files", true),
    ];
    let mut table = Table::new("Bytes by origin", &columns);
    let mut put = |name: &str, kind: &str, version: &str, numbers: [u64; 3]| {
        table.row(&[
            escape(name),
            kind.to_owned(),
            escape(version),
            bytes(numbers[0]),
            bytes(numbers[1]),
            numbers[2].to_string(),
        ]);
    };
    for o in image.origins.iter().take(MAX_ORIGINS) {
        put(&o.name, o.kind.label(), &o.version, [o.bytes, o.bytecode, o.files]);
    }
    let rest = image.origins.get(MAX_ORIGINS..).unwrap_or_default();
    if !rest.is_empty() {
        let sums =
            rest.iter().fold([0; 3], |[b, c, f], o| [b + o.bytes, c + o.bytecode, f + o.files]);
        put(&format!("{} more", rest.len()), "", "", sums);
    }
    table.end()
}

fn units(title: &str, units: &[Unit]) -> String {
    if units.is_empty() {
        return String::new();
    }
    let list: String = units
        .iter()
        .map(|u| format!("<li>{} <code>{}</code></li>\n", escape(&u.name), escape(&u.version)))
        .collect();
    format!("<h3>{title}</h3>\n<ul class=\"units\">\n{list}</ul>\n")
}
