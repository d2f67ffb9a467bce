//! `karman login` and `karman logout`: the accounts that `docker login` keeps.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::PathBuf;

use karman_registry::{Credential, HelperOutput, LoginFile};

use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// The registry of names without a host.
const DEFAULT_HOST: &str = "docker.io";
/// The longest password, in bytes; tokens of cloud registries have some thousands.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// Registry, such as registry.example.org:5000 [default: docker.io]
    #[arg(value_name = "HOST[:PORT]")]
    host: Option<String>,
    /// User
    #[arg(short, long)]
    username: Option<String>,
    /// Password or token; others on this machine may see it here, `--password-stdin` hides it
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
}

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// Registry [default: docker.io]
    #[arg(value_name = "HOST[:PORT]")]
    host: Option<String>,
}

/// Checks the account with the registry, then keeps it.
pub(crate) fn login(args: &LoginArgs, context: &Context) -> Done {
    let host = host_of(args.host.as_deref());
    let path = login_file(context)?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", false)?,
    };
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => {
            out::note("WARNING: --password shows the password to others; use --password-stdin\n");
            password.clone()
        }
        (None, true) => read_password()?,
        (None, false) => ask("Password: ", true)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::usage("a user and a password are needed"));
    }
    let engine = context.open(false)?;
    engine
        .check_login(&host, Credential::Basic { user: user.clone(), password: password.clone() })?;
    let mut file = LoginFile::load(&path).map_err(|e| Failure::host("read the accounts", e))?;
    let run = |program: &str, action: &str, input: &str| helper(context, program, action, input);
    let kept = file.store(&host, &user, &password, &run);
    if kept.map_err(|e| Failure::host("keep the account", e))? {
        out::note(&format!(
            "WARNING: the password is kept unencrypted in {}; a credential helper (`credsStore`) \
             avoids that\n",
            path.display()
        ));
    }
    out::note("Login Succeeded\n");
    Ok(0)
}

/// Forgets the account.
pub(crate) fn logout(args: &LogoutArgs, context: &Context) -> Done {
    let host = host_of(args.host.as_deref());
    let path = login_file(context)?;
    let mut file = LoginFile::load(&path).map_err(|e| Failure::host("read the accounts", e))?;
    let run = |program: &str, action: &str, input: &str| helper(context, program, action, input);
    let was_there = file.erase(&host, &run).map_err(|e| Failure::host("forget the account", e))?;
    out::note(&match was_there {
        true => format!("Removing login credentials for {host}\n"),
        false => format!("Not logged in to {host}\n"),
    });
    Ok(0)
}

/// The host as image names have it.
fn host_of(given: Option<&str>) -> String {
    let host = given.unwrap_or(DEFAULT_HOST);
    let host = host.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_HOST.to_owned(),
        host => host.to_owned(),
    }
}

/// The file that accounts are kept in: the first that they are looked up in.
fn login_file(context: &Context) -> Done<PathBuf> {
    context.env.credential_files().into_iter().next().ok_or_else(|| {
        Failure::usage_hint(
            "neither `HOME` nor `DOCKER_CONFIG` is set, so there is no file for the account",
            "name a directory with `DOCKER_CONFIG`",
        )
    })
}

fn helper(
    context: &Context,
    program: &str,
    action: &str,
    input: &str,
) -> std::io::Result<HelperOutput> {
    let program = karman_sys::program::Program::new(program).arg(action).env_all(&context.env.all);
    let output = program.input(input.as_bytes().to_vec()).output()?;
    Ok(HelperOutput { success: output.success, stdout: output.stdout })
}

fn ask(prompt: &str, is_secret: bool) -> Done<String> {
    if !stdin().is_terminal() {
        return Err(Failure::usage_hint(
            "standard input is no terminal to ask on",
            "use `--username` with `--password-stdin`",
        ));
    }
    crate::ask::ask(prompt, is_secret)
}

fn read_password() -> Done<String> {
    let mut text = String::new();
    let read = stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text);
    read.map_err(|e| Failure::host("read the password", e))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_as_images_name_them() {
        assert_eq!(host_of(None), "docker.io");
        assert_eq!(host_of(Some("https://index.docker.io/v1/")), "docker.io");
        assert_eq!(host_of(Some("r.example:5000")), "r.example:5000");
    }
}
