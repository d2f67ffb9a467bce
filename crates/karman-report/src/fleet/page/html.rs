//! Escaping, and tables that the script can sort.

use crate::human_size;
use crate::sanitize::is_invisible;

/// Text for elements and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if (c.is_control() && c != '\n') || is_invisible(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A size that sorts by its bytes.
pub(super) fn bytes(value: u64) -> String {
    format!("<data value=\"{value}\">{}</data>", human_size(value))
}

/// A table that scrolls by itself where the page is narrow.
pub(super) struct Table {
    text: String,
    numbers: Vec<bool>,
}

impl Table {
    /// A table of these columns; those of numbers are marked.
    pub(super) fn new(caption: &str, columns: &[(&str, bool)]) -> Self {
        let heads: String = columns
            .iter()
            .map(|(name, number)| {
                format!("<th scope=\"col\"{}>{}</th>", class(*number), escape(name))
            })
            .collect();
        let text = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\n<table class=\"sortable\">\n\
             <caption>{0}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n",
            escape(caption)
        );
        Self { text, numbers: columns.iter().map(|c| c.1).collect() }
    }

    /// Adds a row of HTML; the first cell is its heading.
    pub(super) fn row(&mut self, cells: &[String]) {
        self.text.push_str("<tr>");
        for (at, cell) in cells.iter().enumerate() {
            let class = class(self.numbers.get(at).copied().unwrap_or(false));
            let text = match at {
                0 => format!("<th scope=\"row\"{class}>{cell}</th>"),
                _ => format!("<td{class}>{cell}</td>"),
            };
            self.text.push_str(&text);
        }
        self.text.push_str("</tr>\n");
    }

    /// The whole table.
    pub(super) fn end(self) -> String {
        self.text + "</tbody>\n</table>\n</div>\n"
    }
}

fn class(number: bool) -> &'static str {
    if number { " class=\"n\"" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_cannot_be_seen_is_marked() {
        assert_eq!(escape("a\u{202e}<\u{1b}'"), "a\u{fffd}&lt;\u{fffd}&#39;");
    }
}
