//! A small automaton: every pattern matches in time proportional to its length times the path's.

use crate::syntax::Token;

/// One state of the automaton. State `n` leads to state `n + 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Consumes one fitting character.
    One(Token),
    /// Consumes characters other than slash, or nothing.
    Star,
    /// Consumes anything, or nothing.
    All,
    /// Begins `(.*/)?`: skips it, or enters the next state, [`State::Tree`].
    TreeStart,
    /// Consumes anything; a slash may end it.
    Tree,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nfa {
    states: Vec<State>,
    /// Characters that every match begins with.
    prefix: String,
}

impl Nfa {
    /// Compiles tokens; with `double_star`, two stars in a row cross slashes as in moby:
    /// `(.*/)?` in the middle (a slash after them is part of it), `.*` at the end.
    pub(crate) fn new(tokens: &[Token], double_star: bool) -> Self {
        let mut states = Vec::with_capacity(tokens.len());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            if *token != Token::Star {
                states.push(State::One(token.clone()));
                continue;
            }
            if !double_star || tokens.get(at) != Some(&Token::Star) {
                states.push(State::Star);
                continue;
            }
            at += 1;
            if tokens.get(at) == Some(&Token::Char('/')) {
                at += 1;
            }
            if at == tokens.len() {
                states.push(State::All);
            } else {
                states.extend([State::TreeStart, State::Tree]);
            }
        }
        let prefix = states.iter().map_while(|s| match s {
            State::One(Token::Char(c)) => Some(*c),
            _ => None,
        });
        let prefix = prefix.collect();
        Self { states, prefix }
    }

    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if !path.starts_with(&self.prefix) {
            return false;
        }
        let skip = self.prefix.chars().count();
        let end = self.states.len();
        let mut now = vec![false; end + 1];
        let mut next = vec![false; end + 1];
        self.enter(&mut now, skip);
        for c in path[self.prefix.len()..].chars() {
            let mut alive = false;
            for at in (skip..end).filter(|at| now[*at]) {
                alive |= self.step(at, c, &mut next);
            }
            if !alive {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
            next.fill(false);
        }
        now[end]
    }

    /// Marks a state and all that follow without consuming.
    fn enter(&self, marks: &mut [bool], mut at: usize) {
        loop {
            marks[at] = true;
            match self.states.get(at) {
                Some(State::Star | State::All) => at += 1,
                Some(State::TreeStart) => {
                    marks[at + 1] = true;
                    at += 2;
                }
                _ => return,
            }
        }
    }

    /// Consumes `c` in state `at`; whether any state is alive after that.
    fn step(&self, at: usize, c: char, next: &mut [bool]) -> bool {
        let target = match &self.states[at] {
            State::One(token) => fits(token, c).then_some(at + 1),
            State::Star => (c != '/').then_some(at),
            State::All => Some(at),
            State::TreeStart => None,
            State::Tree => {
                next[at] = true;
                if c == '/' {
                    self.enter(next, at + 1);
                }
                return true;
            }
        };
        if let Some(target) = target {
            self.enter(next, target);
        }
        target.is_some()
    }
}

fn fits(token: &Token, c: char) -> bool {
    match token {
        Token::Char(want) => *want == c,
        Token::One => c != '/',
        Token::Star => false,
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
    }
}
