//! A fleet as one HTML file: no network, light and dark, for keyboards and for paper.
//!
//! | module | what it does |
//! |---|---|
//! | `html` | escaping, tables |
//! | `treemap` | rectangles whose areas are bytes |
//! | `images` | the table of images, and each image in full |
//! | `layers` | which image has which layer |
//! | `build` | the timeline of the build |
//! | `style.css`, `script.js` | put into the page as they are |
//!
//! Everything is readable without the script, which sorts tables and does nothing else.

mod build;
mod html;
mod images;
mod layers;
mod treemap;

use self::html::{Table, escape};
use super::{Changes, Fleet, Sharing};
use crate::human_size;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page. `changes` are those since an older fleet.
pub fn page(fleet: &Fleet, changes: Option<&Changes>) -> String {
    let sharing = Sharing::of(fleet);
    let mut sections: Vec<(&str, &str, String)> = vec![
        ("images", "Images", images::table(fleet, &sharing)),
        ("bytes", "Bytes by origin", treemap::of_fleet(fleet)),
    ];
    if fleet.images.len() > 1 {
        sections.push(("layers", "Shared layers", layers::matrix(fleet, &sharing)));
    }
    if fleet.images.iter().any(|i| !i.starts.is_empty()) {
        sections.push(("starts", "Start-up times", images::starts(fleet)));
    }
    if fleet.images.iter().any(|i| i.findings.is_some()) {
        sections.push(("findings", "Findings", images::findings(fleet)));
    }
    if let Some(changes) = changes {
        sections.push(("changes", "Changes", changed(changes)));
    }
    if let Some(timeline) = &fleet.timeline {
        sections.push(("build", "The build", build::timeline(timeline)));
    }
    sections.push(("details", "Each image", images::details(fleet)));
    let title = match fleet.images.as_slice() {
        [one] => escape(&one.name),
        many => format!("A fleet of {} images", many.len()),
    };
    let links: String = sections
        .iter()
        .map(|(id, name, _)| format!("<a href=\"#{id}\">{name}</a>"))
        .collect::<Vec<_>>()
        .join("\n");
    let body: String = sections
        .iter()
        .map(|(id, name, text)| {
            format!("<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{name}</h2>\n{text}</section>\n")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#images\">Skip to the images</a>\n\
         <header>\n<h1>{title}</h1>\n{}</header>\n<nav aria-label=\"Sections\">\n{links}\n</nav>\n\
         <main>\n{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        tiles(fleet, &sharing, changes),
    )
}

/// The numbers at the top.
fn tiles(fleet: &Fleet, sharing: &Sharing, changes: Option<&Changes>) -> String {
    let mut tiles = vec![
        (human_size(sharing.total), "compressed, all images together".to_owned()),
        (human_size(sharing.unique), "of unique layers: what a registry keeps".to_owned()),
    ];
    if fleet.images.len() > 1 {
        let saved = sharing.total - sharing.unique;
        let note = format!("saved by sharing, {}", percent(saved, sharing.total));
        tiles.push((human_size(saved), note));
    }
    let findings = || fleet.images.iter().flat_map(|i| i.findings.iter().flatten());
    if fleet.images.iter().any(|i| i.findings.is_some()) {
        let fail = findings().filter(|f| f.fails).count();
        tiles.push((fail.to_string(), format!("of {} findings fail", findings().count())));
    }
    if let Some(changes) = changes {
        let note = format!("to push, {} of the fleet", percent(changes.push, changes.fleet));
        tiles.push((human_size(changes.push), note));
    }
    let tile = |(number, note): &(String, String)| {
        format!("<div class=\"tile\"><b>{number}</b> <span>{note}</span></div>\n")
    };
    format!("<div class=\"tiles\">\n{}</div>\n", tiles.iter().map(tile).collect::<String>())
}

/// A share in percent with one decimal.
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn changed(changes: &Changes) -> String {
    if changes.is_empty() {
        return "<p>Nothing changed.</p>\n".to_owned();
    }
    let mut out = String::new();
    for (title, list) in [("Python pins", &changes.pins), ("Debian packages", &changes.packages)] {
        let mut table = Table::new(title, &[("Name", false), ("Change", false)]);
        for change in list {
            table.row(&[escape(&change.name), escape(&change.versions())]);
        }
        if !list.is_empty() {
            out.push_str(&table.end());
        }
    }
    let columns = [
        ("Image", false),
        ("Compressed before", true),
        ("Compressed now", true),
        ("To pull", true),
        ("Files before", true),
        ("Files now", true),
        ("Files changed, version not", false),
    ];
    let mut table = Table::new("Images that changed", &columns);
    for image in &changes.images {
        table.row(&[
            escape(&image.name),
            html::bytes(image.compressed.0),
            html::bytes(image.compressed.1),
            html::bytes(image.pull),
            image.files.0.to_string(),
            image.files.1.to_string(),
            escape(&image.rewritten.join(", ")),
        ]);
    }
    out + &table.end()
}

#[cfg(test)]
mod tests {
    use karman_oci::Digest;

    use super::super::model::{Found, Image, Layer, OriginBytes, OriginKind, Start, Unit};
    use super::super::timeline::Timeline;
    use super::*;

    fn image(name: &str) -> Image {
        let layer = |text: &str, size| Layer {
            digest: Digest::sha256_of(text.as_bytes()),
            size,
            title: format!("COPY {text} <x>"),
        };
        let origin = |name: &str, bytes| OriginBytes {
            kind: OriginKind::Python,
            name: name.to_owned(),
            version: "1".to_owned(),
            bytes,
            bytecode: 0,
            files: 1,
            digest: Digest::sha256_of(name.as_bytes()),
        };
        Image {
            name: name.to_owned(),
            digest: Digest::sha256_of(name.as_bytes()).to_string(),
            platform: "linux/amd64".to_owned(),
            compressed: 1_100_000,
            unpacked: 3_000_000,
            files: 2,
            packages: vec![Unit { name: "libc6".into(), version: "2.41".into() }],
            distributions: vec![Unit { name: "six".into(), version: "1".into() }],
            layers: vec![layer("base", 1_000_000), layer(name, 100_000)],
            origins: vec![origin("six", 2_000_000), origin(name, 1_000_000)],
            findings: Some(vec![Found {
                rule: "leak-compiler".into(),
                subject: "/usr/bin/<gcc>".into(),
                message: "a compiler".into(),
                fails: true,
            }]),
            starts: vec![Start { script: "x-api".into(), milliseconds: 270 }],
        }
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let record = "{\"vertexes\":[{\"digest\":\"a\",\"name\":\"RUN <b>\",\"started\":0,\"completed\":2}]}";
        let fleet = Fleet::new(vec![image("nova"), image("<i>")], Timeline::parse(record));
        let older = Fleet::new(vec![image("nova")], None);
        let changes = Changes::between(&older, &fleet);
        let page = page(&fleet, Some(&changes));
        for part in [
            "A fleet of 2 images",
            "2.2MB",
            "1.2MB",
            "&lt;gcc&gt;",
            "&lt;i&gt;",
            "RUN &lt;b&gt;",
            "x-api",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for wrong in ["<gcc>", "<i>", "RUN <b>", "http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(wrong), "{wrong}");
        }
        let opened = |name: &str| page.matches(&format!("<{name}")).count();
        let closed = |name: &str| page.matches(&format!("</{name}>")).count();
        for element in ["section", "table", "tr>", "details", "svg", "div", "h2", "h3"] {
            let name = element.trim_end_matches('>');
            assert_eq!(opened(element), closed(name), "{element}");
        }
    }

    #[test]
    fn one_image_has_no_matrix() {
        let page = page(&Fleet::new(vec![image("nova")], None), None);
        assert!(page.contains("<title>nova</title>") && !page.contains("Shared layers"));
    }
}
