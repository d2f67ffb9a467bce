//! A view of layers as the tree of an inventory.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use karman_inventory::{Content, Kind, Node, Tree, TreeError, path_text};
use karman_snapshot::{Result, SnapshotError, View, Visit, WalkDir, WalkEntry};
use karman_sys::fs::{FileKind, Stat};

use crate::engine::Engine;

/// Where the kernel keeps file capabilities.
const CAPABILITY: &str = "security.capability";

/// A view that has been walked.
pub(crate) struct ViewTree {
    view: View,
    nodes: Vec<Node>,
    /// Layer (0 is the topmost) and path of each node.
    places: Vec<(usize, PathBuf)>,
    /// Opens nothing more after [`Engine::cancel`].
    engine: Option<Engine>,
}

impl ViewTree {
    /// Walks a view.
    pub(crate) fn new(view: View) -> Result<Self> {
        let mut walk = Walk { depth: view.depth(), nodes: Vec::new(), places: Vec::new() };
        view.walk(&PathBuf::new(), &view.root(), None, &mut walk)?;
        Ok(Self { nodes: walk.nodes, places: walk.places, view, engine: None })
    }

    /// Lets an interrupt end whoever reads it.
    pub(crate) fn stopped_by(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }
}

impl Tree for ViewTree {
    fn nodes(&self) -> std::result::Result<Vec<Node>, TreeError> {
        Ok(self.nodes.clone())
    }

    fn open(&self, node: &Node) -> std::result::Result<Box<dyn Content + '_>, TreeError> {
        let read = |source| TreeError::Read { path: node.path.clone(), source };
        if self.engine.as_ref().is_some_and(Engine::interrupted) {
            return Err(read(io::Error::other("interrupted")));
        }
        let failed = |error: SnapshotError| read(io::Error::other(error));
        let (layer, path) = &self.places[node.handle];
        Ok(Box::new(FileContent(self.view.open_at(*layer, path).map_err(failed)?)))
    }
}

struct FileContent(File);

impl Content for FileContent {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

struct Walk {
    depth: usize,
    nodes: Vec<Node>,
    places: Vec<(usize, PathBuf)>,
}

impl Walk {
    fn push(&mut self, path: &std::path::Path, layer: usize, stat: &Stat) -> &mut Node {
        let text = path_text(path.as_os_str().as_bytes());
        let node = Node {
            path: format!("/{text}"),
            kind: kind(stat.kind()),
            mode: stat.permissions(),
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            layer: self.depth - 1 - layer,
            handle: self.nodes.len(),
            ..Node::default()
        };
        self.places.push((layer, path.to_owned()));
        let at = self.nodes.len();
        self.nodes.push(node);
        &mut self.nodes[at]
    }
}

impl Visit for Walk {
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()> {
        if !dir.rel.as_os_str().is_empty() {
            self.push(dir.rel, dir.dir.top_layer(), &dir.stat()?);
        }
        Ok(())
    }

    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()> {
        let stat = entry.stat()?;
        let failed = |source| SnapshotError::Files { path: entry.path.to_owned(), source };
        let node = self.push(entry.rel, entry.layer, &stat);
        match node.kind {
            Kind::File => {
                node.inode = (stat.nlink > 1).then_some((stat.dev, stat.ino));
                node.capability = entry.parent.get_xattr(entry.name, CAPABILITY).map_err(failed)?;
            }
            Kind::Symlink => {
                let target = entry.parent.read_link(entry.name).map_err(failed)?;
                node.target = Some(path_text(target.as_bytes()));
            }
            Kind::CharDevice | Kind::BlockDevice => {
                node.device = Some((rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev)));
            }
            _ => {}
        }
        Ok(())
    }
}

fn kind(kind: FileKind) -> Kind {
    match kind {
        FileKind::File => Kind::File,
        FileKind::Dir => Kind::Directory,
        FileKind::Symlink => Kind::Symlink,
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
        FileKind::Char => Kind::CharDevice,
        FileKind::Block => Kind::BlockDevice,
    }
}
