//! Names that look like secrets.

use super::{Checks, rules};

/// Words of a name that make it a secret.
const SECRET: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that make it none after all.
const HARMLESS: &[&str] = &["public", "file", "version"];

/// Reports an `ARG` or `ENV` that seems to hold a secret.
pub(crate) fn check_name(instruction: &str, name: &str, checks: &Checks) {
    if looks_secret(name) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
        );
        checks.found_here(&rules::SECRETS_USED_IN_ARG_OR_ENV, message);
    }
}

/// Whether one of the words between underscores is a secret's.
fn looks_secret(name: &str) -> bool {
    let has =
        |list: &[&str]| name.split('_').any(|w| list.iter().any(|l| l.eq_ignore_ascii_case(w)));
    has(SECRET) && !has(HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn words_between_underscores_count() {
        for secret in ["SECRET_PASSPHRASE", "SUPER_Secret", "apikey", "git_key", "auth", "A__token"]
        {
            assert!(looks_secret(secret), "{secret}");
        }
        for other in
            ["PUBLIC_KEY", "public_token", "KEYSTONE", "monkey", "TOKEN_FILE", "passphrase"]
        {
            assert!(!looks_secret(other), "{other}");
        }
    }
}
