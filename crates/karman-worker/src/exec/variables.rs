//! The environment of a command, in order: programs show it as it was written.

/// Variables in order, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    /// `NAME=value` lines; a later one replaces an earlier one of its name. Others mean nothing.
    pub(crate) fn of_lines(lines: &[String]) -> Self {
        let mut all = Self::default();
        all.extend(lines);
        all
    }

    /// Sets variables from `NAME=value` lines.
    pub(crate) fn extend(&mut self, lines: &[String]) {
        for (name, value) in lines.iter().filter_map(|line| line.split_once('=')) {
            self.set(name, value);
        }
    }

    /// Sets a variable, in its old place where it has one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Sets a variable that is not set.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Name and value of each.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_first_mention() {
        let lines = ["B=1", "A=2", "B=3", "nonsense"].map(str::to_owned);
        let mut all = Variables::of_lines(&lines);
        all.set_default("A", "no");
        all.set_default("HOME", "/");
        let shown: Vec<String> =
            all.into_pairs().into_iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(shown, ["B=3", "A=2", "HOME=/"]);
    }
}
