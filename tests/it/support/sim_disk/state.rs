//! What is on the disk, and what a power loss would leave of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Step, Unsynced};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

pub type NodeId = usize;
type Names = BTreeMap<OsString, NodeId>;
const ROOT: NodeId = 0;

#[derive(Debug)]
pub struct State {
    root: PathBuf,
    nodes: Vec<Node>,
    changes: u64,
    syncs: u64,
    pub off_at: Option<(Step, u64)>,
    pub fails_at: Option<u64>,
    pub failed: bool,
    off: bool,
}

/// A file or directory, whatever its name: a rename moves the node.
#[derive(Debug)]
enum Node {
    File { durable: Vec<u8>, unsynced: Vec<Change> },
    Directory { live: Names, durable: Names },
}

/// Of a file's content.
#[derive(Debug)]
pub enum Change {
    Length(u64),
    Bytes { offset: u64, bytes: Vec<u8> },
}

impl Node {
    fn file(durable: Vec<u8>) -> Node {
        Node::File { durable, unsynced: Vec::new() }
    }

    fn directory() -> Node {
        Node::Directory { live: Names::new(), durable: Names::new() }
    }
}

/// Whether an unsynced change survives.
enum Survival {
    Never,
    Always,
    Coin(u64),
}

impl Survival {
    fn next(&mut self) -> bool {
        match self {
            Survival::Never => false,
            Survival::Always => true,
            Survival::Coin(seed) => {
                // SplitMix64
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed >> 63 == 1
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, survival: &mut Survival) {
        match self {
            Change::Length(length) => {
                if survival.next() {
                    content.resize(*length as usize, 0);
                }
            }
            Change::Bytes { offset, bytes } => {
                let mut at = *offset as usize;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (sector, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    if survival.next() {
                        content.resize(content.len().max(at + sector.len()), 0);
                        content[at..at + sector.len()].copy_from_slice(sector);
                    }
                    at += sector.len();
                    rest = later;
                }
            }
        }
    }
}

impl State {
    /// What is under `root` already is durable.
    pub fn open(root: &Path) -> State {
        let mut state = State {
            root: root.to_owned(),
            nodes: vec![Node::directory()],
            changes: 0,
            syncs: 0,
            off_at: None,
            fails_at: None,
            failed: false,
            off: false,
        };
        state.load(ROOT, root);
        state
    }

    pub fn steps(&self, step: Step) -> u64 {
        match step {
            Step::Change => self.changes,
            Step::Sync => self.syncs,
        }
    }

    fn load(&mut self, directory: NodeId, path: &Path) {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let is_directory = entry.file_type().unwrap().is_dir();
            let node =
                if is_directory { Node::directory() } else { Node::file(fs::read(entry.path()).unwrap()) };
            let node = self.add(directory, entry.file_name(), node);
            if is_directory {
                self.load(node, &entry.path());
            }
        }
        self.sync(directory);
    }

    pub fn alive(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    pub fn step(&mut self, step: Step) -> io::Result<()> {
        self.off |= match self.off_at {
            Some((Step::Change, count)) => self.changes >= count,
            Some((Step::Sync, count)) => step == Step::Sync && self.syncs >= count,
            None => false,
        };
        self.alive()?;
        self.changes += 1;
        self.syncs += u64::from(step == Step::Sync);
        if step == Step::Sync && self.fails_at.is_some_and(|count| self.syncs > count) {
            self.fails_at = None;
            self.failed = true;
            return Err(io::Error::other("the disk refuses, this once"));
        }
        Ok(())
    }

    pub fn find(&self, path: &Path) -> Option<NodeId> {
        let inside = path.strip_prefix(&self.root).unwrap();
        inside.iter().try_fold(ROOT, |node, name| match &self.nodes[node] {
            Node::Directory { live, .. } => live.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    /// The names of the directory `path` is in, and its own.
    fn place(&mut self, path: &Path) -> (&mut Names, OsString) {
        let parent = self.find(path.parent().unwrap());
        match parent.map(|parent| &mut self.nodes[parent]) {
            Some(Node::Directory { live, .. }) => (live, path.file_name().unwrap().to_owned()),
            _ => panic!("the directory of {} was not made through this disk", path.display()),
        }
    }

    fn add(&mut self, directory: NodeId, name: OsString, node: Node) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(node);
        if let Node::Directory { live, .. } = &mut self.nodes[directory] {
            live.insert(name, id);
        }
        id
    }

    pub fn find_or_add_file(&mut self, path: &Path) -> NodeId {
        self.find(path).unwrap_or_else(|| {
            let id = self.nodes.len();
            let (names, name) = self.place(path);
            names.insert(name, id);
            self.nodes.push(Node::file(Vec::new()));
            id
        })
    }

    pub fn change(&mut self, file: NodeId, change: Change) {
        if let Node::File { unsynced, .. } = &mut self.nodes[file] {
            unsynced.push(change);
        }
    }

    pub fn sync(&mut self, node: NodeId) {
        match &mut self.nodes[node] {
            Node::File { durable, unsynced } => {
                unsynced.drain(..).for_each(|change| change.apply(durable, &mut Survival::Always));
            }
            Node::Directory { live, durable } => durable.clone_from(live),
        }
    }

    pub fn rename(&mut self, from: &Path, to: &Path) {
        let (names, name) = self.place(from);
        let Some(node) = names.remove(&name) else {
            panic!("{} was not written through this disk", from.display());
        };
        let (names, name) = self.place(to);
        names.insert(name, node);
    }

    /// A file, or a directory with what is in it; one that this disk does not know is fine.
    pub fn remove(&mut self, path: &Path) {
        if let Some(node) = self.find(path) {
            self.clear(node);
            let (names, name) = self.place(path);
            names.remove(&name);
        }
    }

    /// A directory and its parents.
    pub fn create_dir(&mut self, path: &Path) {
        let inside = path.strip_prefix(&self.root).unwrap();
        let (mut at, mut node) = (self.root.clone(), ROOT);
        for name in inside {
            at.push(name);
            node = self.find(&at).unwrap_or_else(|| self.add(node, name.to_owned(), Node::directory()));
        }
    }

    /// Writes what a power loss leaves into the directory `into`.
    pub fn materialise(&self, into: &Path, unsynced: Unsynced) {
        let mut survival = match unsynced {
            Unsynced::Lost => Survival::Never,
            Unsynced::Torn(seed) => Survival::Coin(seed),
        };
        self.write_out(ROOT, into, &mut survival);
    }

    /// Every name in a directory is removed for itself before the directory's own.
    fn clear(&mut self, directory: NodeId) {
        if let Node::Directory { live, .. } = &mut self.nodes[directory] {
            for (_, node) in std::mem::take(live) {
                self.clear(node);
            }
        }
    }

    fn write_out(&self, node: NodeId, path: &Path, survival: &mut Survival) {
        match &self.nodes[node] {
            Node::File { durable, unsynced } => {
                let mut content = durable.clone();
                unsynced.iter().for_each(|change| change.apply(&mut content, survival));
                fs::write(path, content).unwrap();
            }
            Node::Directory { live, durable } => {
                fs::create_dir_all(path).unwrap();
                for name in live.keys().chain(durable.keys()).collect::<BTreeSet<_>>() {
                    let (new, old) = (live.get(name), durable.get(name));
                    let survivor = if new != old && survival.next() { new } else { old };
                    if let Some(&survivor) = survivor {
                        self.write_out(survivor, &path.join(name), survival);
                    }
                }
            }
        }
    }
}
