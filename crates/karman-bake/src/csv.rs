//! Comma-separated values, after RFC 4180.

/// The rows of a text; a quoted field may hold commas, quotes (doubled) and line ends.
pub(crate) fn rows(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    let mut any = false;
    while let Some(c) = chars.next() {
        any = true;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
                any = false;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quoted CSV field has no end".to_owned());
    }
    if any {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

/// The fields of one line.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, String> {
    Ok(rows(line)?.into_iter().next().unwrap_or_default())
}

/// `key=value` pairs, quoted where they hold a comma.
pub(crate) fn join<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let all: Vec<String> = pairs
        .into_iter()
        .map(|(k, v)| match k.contains(',') || v.contains(',') {
            true => format!("\"{k}={v}\""),
            false => format!("{k}={v}"),
        })
        .collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_and_quotes() {
        let fields = fields("type=image,\"name=a,b\",x=\"\"").unwrap_or_default();
        assert_eq!(fields, ["type=image", "name=a,b", "x=\"\""]);
        assert_eq!(rows("a,b\r\n\"1\"\"\",2\n").map(|r| r.len()), Ok(2));
        assert!(rows("\"open").is_err());
        assert_eq!(join([("type", "image"), ("name", "a,b")]), "type=image,\"name=a,b\"");
    }
}
