//! Tables of the listing commands, and images as a table and as JSON.

use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::human::{human_age, human_size};

/// Spaces between columns, as docker has them.
const GAP: usize = 3;

/// Left-aligned columns under a header, as docker prints them.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headers.
    pub fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { rows: vec![headers.map(str::to_owned).to_vec()] }
    }

    /// Adds a row; cells beyond the header are kept.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|c| crate::sanitize(&c)).to_vec());
    }

    /// The text; every line ends with a newline and none with a space.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| {
                self.rows.iter().filter_map(|r| r.get(c)).map(|t| t.width()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - cell.width() + GAP));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// An image of the local store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRow {
    /// Repository in its familiar form.
    pub repository: String,
    /// Tag; `<none>` without one.
    pub tag: String,
    /// Digest of the manifest or index.
    pub digest: String,
    /// Seconds since 1970 when the name was set.
    pub created: i64,
    /// Bytes of its layers.
    pub size: u64,
    /// Platforms such as `linux/amd64`.
    pub platforms: Vec<String>,
}

/// The images as docker lists them; `now` in seconds since 1970.
pub fn images_table(images: &[ImageRow], now: i64) -> String {
    let mut table = Table::new(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    for image in images {
        let age = Duration::from_secs(u64::try_from(now - image.created).unwrap_or(0));
        let hex = image.digest.split_once(':').map_or(image.digest.as_str(), |(_, hex)| hex);
        table.row([
            image.repository.clone(),
            image.tag.clone(),
            hex.chars().take(12).collect(),
            human_age(age),
            human_size(image.size),
        ]);
    }
    table.render()
}

/// The images as a JSON list, indented, with a final newline.
pub fn images_json(images: &[ImageRow]) -> String {
    // Strings and numbers always serialise.
    serde_json::to_string_pretty(images).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_columns() {
        let image = ImageRow {
            repository: "nova".into(),
            tag: "latest".into(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            created: 0,
            size: 77_800_000,
            platforms: vec!["linux/amd64".into()],
        };
        let want = "\
REPOSITORY   TAG      IMAGE ID       CREATED       SIZE
nova         latest   abababababab   2 hours ago   77.8MB
";
        assert_eq!(images_table(std::slice::from_ref(&image), 7200), want);
        let json: serde_json::Value = serde_json::from_str(&images_json(&[image])).expect("JSON");
        assert_eq!(json[0]["tag"], "latest");
    }
}
