//! What an image promises: users and directories by its inventory; console scripts, entry points, declared commands and the
//! ABI of modules by a program that whoever holds the image runs in it ([`plans`], [`Plan::request`], [`judge`]).

use serde::{Deserialize, Serialize};

use super::{ContractRule, Finding};
use crate::glob::matches;
use crate::model::{Distribution, Entry, Inventory, Kind};

/// Run by the Python of a virtual environment with [`Plan::request`] on its standard input; writes [`Answer`]s, one JSON
/// object a line, to its standard output.
pub const PROGRAM: &str = include_str!("contract.py");

/// Checks the declared users and directories, and whether something could run the declared commands.
pub fn declared(inventory: &Inventory, rule: &ContractRule) -> Vec<Finding> {
    let mut found = Vec::new();
    for wanted in &rule.users {
        let Some(user) = inventory.users.iter().find(|u| u.name == wanted.name) else {
            let message = "there is no such user in `/etc/passwd`";
            found.push(Finding::new("contract-user", wanted.name.clone(), message));
            continue;
        };
        let mut differs = |what: &str, wants: Option<String>, has: String| {
            if let Some(wants) = wants.filter(|w| *w != has) {
                let message = format!("its {what} is `{has}`, not `{wants}`");
                found.push(Finding::new("contract-user", user.name.clone(), message));
            }
        };
        differs("number", wanted.uid.map(|n| n.to_string()), user.uid.to_string());
        differs("group", wanted.gid.map(|n| n.to_string()), user.gid.to_string());
        differs("home", wanted.home.clone(), user.home.clone());
        differs("shell", wanted.shell.clone(), user.shell.clone());
    }
    for wanted in &rule.directories {
        let id = "contract-directory";
        let Some(entry) = inventory.entry(&wanted.path).filter(|e| e.kind == Kind::Directory)
        else {
            found.push(Finding::new(id, wanted.path.clone(), "there is no such directory"));
            continue;
        };
        let mut differs = |what: &str, wants: Option<String>, has: String| {
            if let Some(wants) = wants.filter(|w| *w != has) {
                let message = format!("its {what} is {has}, not {wants}");
                found.push(Finding::at(inventory, entry, id, &message));
            }
        };
        let mode = wanted.mode.as_deref().and_then(|m| u32::from_str_radix(m, 8).ok());
        differs("mode", mode.map(|m| format!("{m:04o}")), format!("{:04o}", entry.mode));
        differs("owner", wanted.uid.map(|n| n.to_string()), entry.uid.to_string());
        differs("group", wanted.gid.map(|n| n.to_string()), entry.gid.to_string());
    }
    if environments(inventory).next().is_none() {
        let message = "there is no virtual environment whose Python would run it";
        let finding = |name: &String| Finding::new("contract-command", name.clone(), message);
        found.extend(rule.commands.iter().map(|c| finding(&c.name)));
    }
    found
}

/// What to ask one Python of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The interpreter.
    pub python: String,
    /// Its prefix, such as `/var/lib/openstack`.
    pub prefix: String,
    questions: Questions,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Questions {
    scripts: Vec<Question>,
    entry_points: Vec<Question>,
    run: Vec<String>,
    commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Command {
    subject: String,
    run: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    subject: String,
    target: String,
}

/// One line of the program's answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Answer {
    /// A script or an entry point that failed, or a script that failed when it was run.
    Failed { check: String, subject: String, target: String, error: String },
    /// All was asked.
    End { tag: String, path: Vec<String> },
}

impl Plan {
    /// The standard input of [`PROGRAM`].
    ///
    /// # Errors
    /// Never for a plan made here; JSON of plain data always writes.
    pub fn request(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.questions)
    }

    /// How much is asked: scripts and entry points to import, scripts and declared commands to run.
    pub fn size(&self) -> (usize, usize, usize) {
        let Questions { scripts, entry_points, run, commands } = &self.questions;
        (scripts.len(), entry_points.len(), run.len() + commands.len())
    }
}

/// What to ask each Python that has distributions which no Debian package owns. Scripts are run only where their
/// distribution was asked for by name (`REQUESTED` in its metadata): those are the services. The first Python runs the
/// declared commands.
pub fn plans(inventory: &Inventory, rules: &[&ContractRule]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (distribution, prefix, python) in environments(inventory) {
        let at = match plans.iter().position(|p| p.prefix == prefix) {
            Some(at) => at,
            None => {
                let questions = Questions::default();
                plans.push(Plan { python, prefix: prefix.to_owned(), questions });
                plans.len() - 1
            }
        };
        let Plan { prefix, questions, .. } = &mut plans[at];
        ask(inventory, distribution, prefix, rules, questions);
    }
    if let Some(plan) = plans.first_mut() {
        let commands = rules.iter().flat_map(|r| &r.commands);
        let commands = commands.map(|c| Command { subject: c.name.clone(), run: c.run.clone() });
        plan.questions.commands = commands.collect();
    }
    plans
}

/// Distributions that no Debian package owns, with the prefix of their environment and its interpreter.
fn environments(inventory: &Inventory) -> impl Iterator<Item = (&Distribution, &str, String)> {
    let own = inventory.distributions.iter().filter(|d| d.package.is_none());
    own.filter_map(|d| python_of(inventory, d).map(|(prefix, python)| (d, prefix, python)))
}

fn ask(
    inventory: &Inventory,
    distribution: &Distribution,
    prefix: &str,
    rules: &[&ContractRule],
    questions: &mut Questions,
) {
    let requested = inventory.entry(&format!("{}/REQUESTED", distribution.location)).is_some();
    for point in &distribution.entry_points {
        let subject = format!("{}: {} {}", distribution.name, point.group, point.name);
        let question = Question { subject, target: point.target.clone() };
        if matches!(point.group.as_str(), "console_scripts" | "gui_scripts") {
            questions.scripts.push(question);
            let script = format!("{prefix}/bin/{}", point.name);
            if requested && inventory.entry(&script).is_some() {
                questions.run.push(script);
            }
        } else if rules.iter().flat_map(|r| &r.groups).any(|g| matches(g, &point.group)) {
            questions.entry_points.push(question);
        }
    }
}

/// `PREFIX/lib/pythonX.Y/site-packages/…` → the prefix and its interpreter.
fn python_of<'a>(
    inventory: &Inventory,
    distribution: &'a Distribution,
) -> Option<(&'a str, String)> {
    let site = distribution.location.rsplit_once('/')?.0;
    let (lib, name) = site.rsplit_once('/')?;
    let (prefix, python) = lib.rsplit_once("/lib/")?;
    let is_site = matches!(name, "site-packages" | "dist-packages") && python.starts_with("python");
    let candidates = [format!("{prefix}/bin/{python}"), format!("{prefix}/bin/python3")];
    let there = candidates.into_iter().find(|path| inventory.entry(path).is_some());
    there.filter(|_| is_site).map(|python| (prefix, python))
}

/// Findings from what the program wrote, and the code it ended with.
pub fn judge(inventory: &Inventory, plan: &Plan, answer: &[u8], code: i32) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut is_whole = false;
    for line in answer.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Answer::Failed { check, subject, target, error }) => {
                let (id, message) = match check.as_str() {
                    "script" => {
                        ("contract-script", format!("`{target}` cannot be imported: {error}"))
                    }
                    "run" => ("contract-run", format!("it cannot be run: {error}")),
                    "command" => ("contract-command", error),
                    _ => ("contract-entry-point", format!("`{target}` cannot be loaded: {error}")),
                };
                found.push(Finding::new(id, subject, message));
            }
            Ok(Answer::End { tag, path }) => {
                is_whole = true;
                found.extend(abi(inventory, plan, &tag, &path));
            }
            // Something else wrote to our pipe; without an end it shows below.
            Err(_) => {}
        }
    }
    if !is_whole {
        let message = format!("it ended with code {code} before all was asked");
        found.push(Finding::new("contract-python", plan.python.clone(), message));
    }
    found
}

/// Modules outside of the environment that its Python would look at and cannot load: `tag` is its own, such as
/// `cpython-313`.
fn abi(inventory: &Inventory, plan: &Plan, tag: &str, path: &[String]) -> Vec<Finding> {
    let own = format!("{}/", plan.prefix);
    let mut found = super::Found::new(inventory);
    for dir in path.iter().filter(|dir| !format!("{dir}/").starts_with(&own)) {
        let below = format!("{dir}/");
        let modules: Vec<(&Entry, &str, &str)> = inventory
            .entries
            .iter()
            .filter(|e| e.path.starts_with(&below))
            .filter_map(|e| module(e).map(|(name, tag)| (e, name, tag)))
            .collect();
        for (entry, name, other) in &modules {
            let fits = |(_, n, t): &(&Entry, &str, &str)| n == name && (*t == tag || *t == "abi3");
            if *other != tag && *other != "abi3" && !modules.iter().any(fits) {
                let message = format!("it is made for `{other}`, the environment has `{tag}`");
                found.add(entry, "contract-abi", &message);
            }
        }
    }
    found.finish()
}

/// `/usr/lib/python3/dist-packages/a.cpython-313-x86_64-linux-gnu.so` → path up to the tag, and `cpython-313`.
fn module(entry: &Entry) -> Option<(&str, &str)> {
    let (dir, file) = entry.path.rsplit_once('/')?;
    let (stem, tag) = file.strip_suffix(".so")?.split_once('.')?;
    let name = entry.path.get(..dir.len() + 1 + stem.len())?;
    if tag == "abi3" {
        return Some((name, tag));
    }
    let end = tag.match_indices('-').nth(1).map_or(tag.len(), |(at, _)| at);
    tag.starts_with("cpython-").then(|| (name, &tag[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryTree;
    use crate::{NoSources, Survey, take};

    const SITE: &str = "/v/lib/python3.13/site-packages";

    fn inventory() -> Inventory {
        let mut tree = MemoryTree::new();
        tree.file("/v/bin/python3", "");
        tree.file("/v/bin/demo", "#!/v/bin/python3\n");
        tree.file(&format!("{SITE}/demo-1.dist-info/METADATA"), "Name: demo\nVersion: 1\n");
        tree.file(&format!("{SITE}/demo-1.dist-info/REQUESTED"), "");
        let points =
            "[console_scripts]\ndemo = demo:main\n[demo.plugins]\na = demo.a:A\n[x]\nb = c:d\n";
        tree.file(&format!("{SITE}/demo-1.dist-info/entry_points.txt"), points);
        tree.file("/usr/lib/python3/dist-packages/m.cpython-312-x86_64-linux-gnu.so", "");
        tree.file("/usr/lib/python3/dist-packages/n.cpython-312-x86_64-linux-gnu.so", "");
        tree.file("/usr/lib/python3/dist-packages/n.cpython-313-x86_64-linux-gnu.so", "");
        tree.file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\ndemo:x:7:8::/var/lib/demo:/bin/no\n",
        );
        tree.directory("/etc/demo");
        let survey = Survey::read(&tree, Vec::new()).expect("memory");
        take(&tree, survey, "linux/amd64", &NoSources).expect("memory")
    }

    fn rule() -> ContractRule {
        let policy = super::super::Policy::parse(
            "[[contract]]\ngroups = [\"demo.*\"]\n\
             users = [{ name = \"demo\", uid = 7, gid = 9 }, { name = \"none\" }]\n\
             directories = [{ path = \"/etc/demo\", mode = \"0750\" }, { path = \"/gone\" }]\n\
             commands = [{ name = \"it answers\", run = [\"demo\", \"--check\"] }]\n",
        );
        policy.expect("valid").contract.remove(0)
    }

    #[test]
    fn users_and_directories_are_compared() {
        let found = declared(&inventory(), &rule());
        let texts: Vec<_> = found.iter().map(|f| format!("{}: {}", f.subject, f.message)).collect();
        assert_eq!(
            texts,
            [
                "demo: its group is `8`, not `9`",
                "none: there is no such user in `/etc/passwd`",
                "/etc/demo: its mode is 0755, not 0750",
                "/gone: there is no such directory",
            ]
        );
    }

    #[test]
    fn scripts_and_declared_groups_are_asked_for() {
        let rule = rule();
        let plans = plans(&inventory(), &[&rule]);
        assert_eq!(plans.len(), 1);
        assert_eq!((plans[0].python.as_str(), plans[0].size()), ("/v/bin/python3", (1, 1, 2)));
        let request = plans[0].request().expect("plain data");
        let request: serde_json::Value = serde_json::from_slice(&request).expect("JSON");
        let commands = serde_json::json!([{"subject": "it answers", "run": ["demo", "--check"]}]);
        assert_eq!(request["commands"], commands);
    }

    #[test]
    fn commands_without_an_environment_are_told() {
        let empty = Survey::read(&MemoryTree::new(), Vec::new()).expect("memory");
        let empty = take(&MemoryTree::new(), empty, "linux/amd64", &NoSources).expect("memory");
        let found = declared(&empty, &rule());
        let found: Vec<_> = found.iter().filter(|f| f.id == "contract-command").collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject, "it answers");
    }

    #[test]
    fn answers_become_findings() {
        let inventory = inventory();
        let plan = plans(&inventory, &[]).remove(0);
        let answer = "{\"kind\":\"failed\",\"check\":\"script\",\"subject\":\"demo\",\"target\":\"demo:main\",\
                      \"error\":\"E\"}\nnoise\n\
                      {\"kind\":\"failed\",\"check\":\"command\",\"subject\":\"it answers\",\"target\":\"demo\",\
                      \"error\":\"gone (code 1)\"}\n{\"kind\":\"end\",\"tag\":\"cpython-313\",\
                      \"path\":[\"/usr/lib/python3/dist-packages\",\"/v/lib\"]}\n";
        let found = judge(&inventory, &plan, answer.as_bytes(), 0);
        let ids: Vec<_> = found.iter().map(|f| (f.id, f.subject.as_str())).collect();
        let module = "/usr/lib/python3/dist-packages/m.cpython-312-x86_64-linux-gnu.so";
        let wanted = [("contract-script", "demo"), ("contract-command", "it answers")];
        assert_eq!(ids[..2], wanted);
        assert_eq!(ids[2..], [("contract-abi", module)]);
        let found = judge(&inventory, &plan, b"", 1);
        assert_eq!(found[0].id, "contract-python");
    }
}
