//! Names and databases of a root filesystem: who owns which path, before any other file is read.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use crate::claim::{Claim, Claims, MAX_LISTED};
use crate::links::Links;
use crate::model::{
    Distribution, Kind, Layer, Origin, Package, Role, Stage, StepKind, System, User,
};
use crate::tree::{Node, Tree, TreeError, read_limited};
use crate::{dpkg, python, system};

/// Paths of one image. The largest images of the field have about a million.
const MAX_NODES: usize = 4_000_000;
/// Bytes of all files that are read here. Those of the largest images have some 30 MB.
const MAX_DATABASES: usize = 512 << 20;
/// A place that links lead to may be longer than the path that was listed, by so much where nothing is there.
const MAX_DETOUR: usize = 64;
const ALTERNATIVES: &str = "/etc/alternatives/";

/// What is known of a root filesystem from its names and its databases.
pub struct Survey {
    /// Every path, parents before children.
    pub nodes: Vec<Node>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The installed Debian packages, by name.
    pub packages: Vec<Package>,
    /// The installed Python distributions, by place.
    pub distributions: Vec<Distribution>,
    /// Which system it is.
    pub system: Option<System>,
    /// The directories that the dynamic linker is told to look in, in order.
    pub library_path: Vec<String>,
    /// The users, in the order of `/etc/passwd`.
    pub users: Vec<User>,
    index: HashMap<String, usize>,
    claims: Claims,
    links: Links,
}

/// How the readers of databases see a tree.
pub(crate) struct Access<'a> {
    tree: &'a dyn Tree,
    pub(crate) nodes: &'a [Node],
    index: &'a HashMap<String, usize>,
    /// Directory → the nodes right below it.
    children: HashMap<&'a str, Vec<usize>>,
    pub(crate) links: &'a Links,
    /// Bytes that may still be read.
    left: Cell<usize>,
}

impl<'a> Access<'a> {
    fn new(
        tree: &'a dyn Tree,
        nodes: &'a [Node],
        index: &'a HashMap<String, usize>,
        links: &'a Links,
    ) -> Self {
        let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            let dir = node.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            children.entry(dir).or_default().push(at);
        }
        Self { tree, nodes, index, children, links, left: Cell::new(MAX_DATABASES) }
    }

    /// Whether there is something of that path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.index.contains_key(path)
    }

    /// Where a listed path is, links in its directories followed. Nothing where links make much of little: a claim on
    /// what is not there is kept, but must not cost more than its line.
    pub(crate) fn listed(&self, path: &str) -> Option<String> {
        let place = self.links.place(path);
        (place.len() <= path.len() + MAX_DETOUR || self.has(&place)).then_some(place)
    }

    /// A regular file, links in its directories followed; nothing where there is none.
    pub(crate) fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, TreeError> {
        let found = self.index.get(&self.links.follow(path)).map(|n| &self.nodes[*n]);
        let Some(node) = found.filter(|node| node.kind == Kind::File) else { return Ok(None) };
        let cost = limit.min(usize::try_from(node.size).unwrap_or(limit));
        let too_much = TreeError::Databases { what: "bytes", limit: MAX_DATABASES };
        self.left.set(self.left.get().checked_sub(cost).ok_or(too_much)?);
        read_limited(self.tree, node, limit).map(Some)
    }

    /// The files and directories right below a directory.
    pub(crate) fn children(&self, dir: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let nodes = self.nodes;
        let below = self.children.get(dir.trim_end_matches('/')).into_iter().flatten();
        below.map(move |at| {
            let path = nodes[*at].path.as_str();
            (path.rsplit_once('/').map_or(path, |(_, name)| name), &nodes[*at])
        })
    }
}

impl Survey {
    /// Reads the names and the databases of a tree.
    ///
    /// # Errors
    /// When the tree cannot be read or has too many paths. Broken databases are read as far as they go.
    pub fn read(tree: &dyn Tree, layers: Vec<Layer>) -> Result<Self, TreeError> {
        let nodes = tree.nodes()?;
        if nodes.len() > MAX_NODES {
            return Err(TreeError::TooMany { limit: MAX_NODES });
        }
        let index: HashMap<String, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.path.clone(), at)).collect();
        let target = |node: &Node| Some((node.path.clone(), node.target.clone()?));
        let links = Links::new(nodes.iter().filter_map(target).collect());
        let access = Access::new(tree, &nodes, &index, &links);
        let mut claims = Claims::default();
        let packages = dpkg::read(&access, &mut claims)?;
        let distributions = python::read(&access, &mut claims)?;
        if claims.is_full() {
            return Err(TreeError::Databases { what: "paths", limit: MAX_LISTED });
        }
        let system = system::system(&access)?;
        let (library_path, users) = (system::library_path(&access)?, system::users(&access)?);
        Ok(Self {
            nodes,
            layers,
            packages,
            distributions,
            system,
            library_path,
            users,
            index,
            claims,
            links,
        })
    }

    /// The node of a path.
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.index.get(path).map(|at| &self.nodes[*at])
    }

    /// The path with all links followed.
    pub fn follow(&self, path: &str) -> String {
        self.links.follow(path)
    }

    /// Where a node came from.
    pub fn origin(&self, node: &Node) -> Origin {
        self.owner(node).unwrap_or_else(|| self.written_by(node.layer))
    }

    pub(crate) fn claim(&self, path: &str) -> Option<&Claim> {
        self.claims.get(path)
    }

    pub(crate) fn is_shared(&self, path: &str) -> bool {
        self.claims.is_shared(path)
    }

    /// The stage that this survey is of.
    pub fn stage(&self, name: &str) -> Stage {
        let mut libraries = BTreeMap::new();
        for (path, claim) in self.claims.iter() {
            let Some((_, file)) = path.rsplit_once('/') else { continue };
            if let Origin::Dpkg { package, .. } = &claim.origin
                && (file.contains(".so.") || file.ends_with(".so"))
            {
                // Several packages may have a file of this name; the first by name is told.
                let known = libraries.entry(file.to_owned()).or_insert_with(|| package.clone());
                if package < known {
                    known.clone_from(package);
                }
            }
        }
        Stage {
            name: name.to_owned(),
            layers: self.layers.clone(),
            packages: self.packages.clone(),
            libraries,
        }
    }

    fn owner(&self, node: &Node) -> Option<Origin> {
        if let Some(claim) = self.claims.get(&node.path) {
            return Some(claim.origin.clone());
        }
        if let Some(origin) = self.bytecode(&node.path) {
            return Some(origin);
        }
        let target = node.target.as_deref()?;
        if node.path.starts_with(ALTERNATIVES) || target.starts_with(ALTERNATIVES) {
            let real = self.claims.get(&self.links.follow(&node.path))?;
            return with_role(&real.origin, Role::Alternative);
        }
        None
    }

    /// The owner of the source of `__pycache__/NAME.cpython-313.pyc`, or of the directory around it.
    pub(crate) fn bytecode(&self, path: &str) -> Option<Origin> {
        let (dir, name) = path.rsplit_once('/')?;
        if name == "__pycache__" {
            return with_role(&self.claims.get(dir)?.origin, Role::Bytecode);
        }
        let dir = dir.strip_suffix("/__pycache__")?;
        let stem = name.strip_suffix(".pyc")?.split('.').next()?;
        let source = self.claims.get(&format!("{dir}/{stem}.py"))?;
        with_role(&source.origin, Role::Bytecode)
    }

    fn written_by(&self, layer: usize) -> Origin {
        let Some(layer) = self.layers.get(layer) else { return Origin::Unknown };
        match layer.step.kind {
            StepKind::Base => Origin::Base,
            StepKind::Run | StepKind::Workdir => Origin::Run,
            StepKind::Copy | StepKind::Add => Origin::Copy { from: layer.step.from.clone() },
            StepKind::Unknown => Origin::Unknown,
        }
    }
}

fn with_role(origin: &Origin, role: Role) -> Option<Origin> {
    match origin.clone() {
        Origin::Dpkg { package, .. } => Some(Origin::Dpkg { package, role }),
        Origin::Python { distribution, .. } => Some(Origin::Python { distribution, role }),
        _ => None,
    }
}
