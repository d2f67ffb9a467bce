//! What a `.case` file needs before its build: files, a script, a server.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use karman_testing::{Case, Place, Section};

use crate::lab::tool;
use crate::server::Server;

/// Stands for the address of the server in cases.
const SERVER: &str = "{server}";

/// A case's surroundings, as long as it runs.
pub(crate) struct Scene {
    server: Option<Server>,
}

impl Scene {
    /// Writes the files of a case, runs its script, starts its server.
    pub(crate) fn set(place: &Place, case: &Case) -> Self {
        fs::create_dir_all(place.work().join("ctx")).expect("a directory");
        let www = place.work().join("www");
        case.sections.iter().for_each(|section| write(place, section, |body| body.to_owned()));
        let has_files = case.sections.iter().any(|s| s.name.starts_with("www/"));
        let server = has_files.then(|| Server::start(www));
        let scene = Self { server };
        if let Some(section) = case.section("Dockerfile") {
            write(place, section, |body| scene.named(body));
        }
        script(place, case, "setup");
        scene
    }

    /// Runs the script that comes between two builds.
    pub(crate) fn change(&self, place: &Place, case: &Case) {
        script(place, case, "change");
    }

    /// Text of a case with the address of the server.
    pub(crate) fn named(&self, text: &str) -> String {
        match &self.server {
            Some(server) => text.replace(SERVER, server.url("").trim_end_matches('/')),
            None => text.to_owned(),
        }
    }

    /// Text that was printed without the address of the server.
    pub(crate) fn unnamed(&self, text: &str) -> String {
        match &self.server {
            Some(server) => text.replace(server.url("").trim_end_matches('/'), SERVER),
            None => text.to_owned(),
        }
    }
}

fn script(place: &Place, case: &Case, name: &str) {
    let Some(section) = case.section(name) else { return };
    let text = format!("umask 022; cd ctx\n{}", section.body);
    tool(place, Path::new("/bin/sh"), &["-euc", &text]);
}

fn write(place: &Place, section: &Section, fill: impl Fn(&str) -> String) {
    let name = match section.name.as_str() {
        "Dockerfile" => "ctx/Dockerfile",
        name if name.starts_with("ctx/") || name.starts_with("www/") => name,
        name => match name.strip_prefix("work/") {
            Some(name) => name,
            None => return,
        },
    };
    let path = place.write(name, fill(&section.body));
    for word in section.value.split_whitespace() {
        match word.split_once('=').expect("key=value") {
            ("mode", octal) => {
                let mode = u32::from_str_radix(octal, 8).expect("an octal number");
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            }
            ("link", target) => {
                fs::remove_file(&path).expect("the file just written");
                symlink(target, &path).expect("a link");
            }
            (key, _) => panic!("unknown attribute `{key}`"),
        }
    }
}
