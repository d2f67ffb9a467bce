//! The `.case` file format.

/// One section: `//- NAME: VALUE` and the lines that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What stands before the colon.
    pub name: String,
    /// What stands after the colon, trimmed; empty where there is none.
    pub value: String,
    /// The lines below, each with its newline.
    pub body: String,
}

/// A parsed `.case` file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Case {
    /// The text before the first section: what the case shows.
    pub title: String,
    /// The sections in their order.
    pub sections: Vec<Section>,
}

impl Case {
    /// Reads the text of a case; every text is a case, perhaps one without sections.
    pub fn parse(text: &str) -> Case {
        let mut case = Case::default();
        for line in text.split_inclusive('\n') {
            if let Some(head) = line.strip_prefix("//- ") {
                let head = head.trim_end();
                let (name, value) = head.split_once(": ").unwrap_or((head, ""));
                case.sections.push(Section {
                    name: name.trim_end_matches(':').to_owned(),
                    value: value.trim().to_owned(),
                    body: String::new(),
                });
            } else if let Some(last) = case.sections.last_mut() {
                last.body.push_str(line);
            } else {
                case.title.push_str(line);
            }
        }
        case
    }

    /// The case as a file; `parse` gives it back.
    pub fn print(&self) -> String {
        let mut out = self.title.clone();
        for s in &self.sections {
            out.push_str("//- ");
            out.push_str(&s.name);
            if !s.value.is_empty() {
                out.push_str(": ");
                out.push_str(&s.value);
            }
            out.push('\n');
            out.push_str(&s.body);
        }
        out
    }

    /// The first section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// The body of the first section of that name, or nothing.
    pub fn body(&self, name: &str) -> &str {
        self.section(name).map_or("", |s| &s.body)
    }

    /// The value of every section of that name, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.sections.iter().filter(move |s| s.name == name).map(|s| s.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_gives_back_what_parse_read() {
        let text = "a title\n//- Dockerfile\nFROM a\n//- options: --x=1\n//- expect: ast\nx\n";
        let case = Case::parse(text);
        assert_eq!(case.print(), text);
        assert_eq!(case.section("expect").map(|s| s.value.as_str()), Some("ast"));
        assert_eq!(case.body("Dockerfile"), "FROM a\n");
    }
}
