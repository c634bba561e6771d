//! The simulated disk keeps what a real one would, and a redb database survives on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gleaner::store::{DatabaseStorage, Disk, OsDisk};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::support::sim_disk::{SimDisk, Step, Unsynced, each_power_loss};

/// A disk with nothing on it.
fn empty() -> (tempfile::TempDir, SimDisk) {
    let root = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(root.path());
    (root, disk)
}

fn write(disk: &SimDisk, path: &Path, content: &[u8], sync: bool) {
    let mut file = disk.create(path).unwrap();
    file.write_all(content).unwrap();
    if sync {
        file.sync().unwrap();
    }
}

/// What a power loss leaves: every path, a file with its content.
fn left(disk: &SimDisk, unsynced: Unsynced) -> BTreeMap<String, Option<Vec<u8>>> {
    fn walk(root: &Path, directory: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                into.insert(name, None);
                walk(root, &path, into);
            } else {
                into.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    let root = tempfile::tempdir().unwrap();
    disk.materialise(root.path(), unsynced);
    let mut into = BTreeMap::new();
    walk(root.path(), root.path(), &mut into);
    into
}

fn files<const N: usize>(files: [(&str, &[u8]); N]) -> BTreeMap<String, Option<Vec<u8>>> {
    files.into_iter().map(|(name, content)| (name.to_owned(), Some(content.to_vec()))).collect()
}

#[test]
fn content_and_name_each_need_their_sync() {
    let (root, disk) = empty();
    write(&disk, &root.path().join("both"), b"x", true);
    write(&disk, &root.path().join("name"), b"x", false);
    disk.sync_dir(root.path()).unwrap();
    write(&disk, &root.path().join("content"), b"x", true);
    write(&disk, &root.path().join("neither"), b"x", false);
    assert_eq!(left(&disk, Unsynced::Lost), files([("both", b"x"), ("name", b"")]));
    assert_eq!(fs::read(root.path().join("neither")).unwrap(), b"x");
}

#[test]
fn a_file_written_again_keeps_its_old_content_until_the_sync() {
    let (root, disk) = empty();
    write(&disk, &root.path().join("f"), b"old", true);
    disk.sync_dir(root.path()).unwrap();
    write(&disk, &root.path().join("f"), b"n", false);
    assert_eq!(left(&disk, Unsynced::Lost), files([("f", b"old")]));
    write(&disk, &root.path().join("f"), b"n", true);
    assert_eq!(left(&disk, Unsynced::Lost), files([("f", b"n")]));
}

#[test]
fn renames_and_removes_need_a_sync_of_their_directory() {
    let (root, disk) = empty();
    let [new, current, gone] = ["new", "current", "gone"].map(|name| root.path().join(name));
    write(&disk, &current, b"old", true);
    write(&disk, &gone, b"", true);
    disk.sync_dir(root.path()).unwrap();
    write(&disk, &new, b"new", true);
    disk.rename(&new, &current).unwrap();
    disk.remove(&gone).unwrap();
    disk.remove(&gone).unwrap();
    assert_eq!(left(&disk, Unsynced::Lost), files([("current", b"old"), ("gone", b"")]));
    disk.sync_dir(root.path()).unwrap();
    assert_eq!(left(&disk, Unsynced::Lost), files([("current", b"new")]));
}

#[test]
fn directories_are_names_of_their_parents() {
    let (root, disk) = empty();
    let inner = root.path().join("a/b");
    disk.create_dir(&inner).unwrap();
    write(&disk, &inner.join("f"), b"x", true);
    disk.sync_dir(&inner).unwrap();
    disk.sync_dir(&root.path().join("a")).unwrap();
    assert_eq!(left(&disk, Unsynced::Lost), BTreeMap::new());
    disk.sync_dir(root.path()).unwrap();
    let mut all = files([("a/b/f", b"x")]);
    all.insert("a".into(), None);
    all.insert("a/b".into(), None);
    assert_eq!(left(&disk, Unsynced::Lost), all);

    disk.remove_dir(&root.path().join("a")).unwrap();
    disk.remove_dir(&root.path().join("a")).unwrap();
    assert!(!inner.exists());
    assert_eq!(left(&disk, Unsynced::Lost), all);
    let partly = (0..50).map(|seed| left(&disk, Unsynced::Torn(seed)).len());
    assert_eq!(partly.collect::<BTreeSet<_>>(), [0, 1, 2, 3].into());
    disk.sync_dir(root.path()).unwrap();
    assert_eq!(left(&disk, Unsynced::Lost), BTreeMap::new());
}

#[test]
fn after_the_power_goes_everything_fails_and_nothing_changes() {
    let (root, disk) = empty();
    let path = root.path().join("f");
    disk.power_off_after(Step::Change, 2);
    let mut file = disk.create(&path).unwrap();
    file.write_all(b"x").unwrap();
    assert!(file.sync().is_err());
    assert!(file.write_all(b"y").is_err());
    assert!(disk.create(&path).is_err());
    assert!(disk.rename(&path, &root.path().join("g")).is_err());
    assert!(disk.remove(&path).is_err());
    assert!(disk.create_dir(&root.path().join("d")).is_err());
    assert!(disk.remove_dir(root.path()).is_err());
    assert!(disk.sync_dir(root.path()).is_err());
    assert!(disk.database(&path).is_err());
    assert_eq!((disk.steps(Step::Change), disk.steps(Step::Sync)), (2, 0));
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[test]
fn the_power_can_go_at_a_sync() {
    let (root, disk) = empty();
    disk.power_off_after(Step::Sync, 1);
    write(&disk, &root.path().join("f"), b"x", true);
    write(&disk, &root.path().join("g"), b"x", false);
    assert!(disk.sync_dir(root.path()).is_err());
    assert!(disk.create(&root.path().join("h")).is_err());
    assert_eq!((disk.steps(Step::Change), disk.steps(Step::Sync)), (5, 1));
}

#[test]
fn a_torn_loss_keeps_some_sectors_and_all_that_was_synced() {
    let (root, disk) = empty();
    let mut file = disk.create(&root.path().join("f")).unwrap();
    file.write_all(&[1; 700]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(root.path()).unwrap();
    file.write_all(&[2; 1000]).unwrap();
    let mut contents = BTreeSet::new();
    for seed in 0..200 {
        let content = left(&disk, Unsynced::Torn(seed))["f"].clone().unwrap();
        assert_eq!(content[..700], [1; 700]);
        assert!([700, 1024, 1536, 1700].contains(&content.len()));
        for sector in [700..1024, 1024..1536, 1536..1700] {
            let kept = content.get(sector.clone()).unwrap_or_default();
            assert!(kept.iter().all(|byte| *byte == kept[0]), "{sector:?} is torn inside");
        }
        contents.insert(content);
    }
    assert_eq!(contents.len(), 8, "each of the three sectors, kept or lost");
    assert_eq!(left(&disk, Unsynced::Torn(7)), left(&disk, Unsynced::Torn(7)));
}

#[test]
fn what_a_loss_left_is_durable_on_the_next_disk() {
    let (root, disk) = empty();
    disk.create_dir(&root.path().join("d")).unwrap();
    write(&disk, &root.path().join("d/f"), b"x", true);
    disk.sync_dir(&root.path().join("d")).unwrap();
    disk.sync_dir(root.path()).unwrap();
    let next = tempfile::tempdir().unwrap();
    disk.materialise(next.path(), Unsynced::Lost);
    let next_disk = SimDisk::new(next.path());
    next_disk.remove(&next.path().join("d/f")).unwrap();
    assert_eq!(left(&next_disk, Unsynced::Lost), left(&disk, Unsynced::Lost));
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");
const KEYS: u64 = 12;
const TRANSACTIONS: u8 = 5;

fn open(disk: &dyn Disk, directory: &Path) -> Result<Database, redb::Error> {
    let storage = DatabaseStorage(disk.database(&directory.join("db")).map_err(std::io::Error::other)?);
    Ok(Database::builder().set_cache_size(1 << 20).create_with_backend(storage)?)
}

/// A transaction writes its number, at a length of its own, under every key.
fn commit(database: &Database, number: u8) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(number.is_multiple_of(2));
    {
        let mut table = transaction.open_table(TABLE)?;
        for key in 0..KEYS {
            table.insert(key, vec![number; 3_000 * usize::from(number)].as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Makes the database and commits transactions; returns whether it was made and how many were
/// acknowledged.
fn commits(disk: &SimDisk, directory: &Path) -> (bool, u8) {
    let Ok(database) = open(disk, directory) else { return (false, 0) };
    if disk.sync_dir(directory).is_err() {
        return (false, 0);
    }
    let acknowledged = (1..=TRANSACTIONS).take_while(|&number| commit(&database, number).is_ok()).count();
    (true, acknowledged as u8)
}

/// The transaction whose values are there, whole; 0 where there is none.
fn found(disk: &dyn Disk, directory: &Path) -> u8 {
    let mut database = open(disk, directory).unwrap();
    assert!(database.check_integrity().unwrap());
    let read = database.begin_read().unwrap();
    let Ok(table) = read.open_table(TABLE) else { return 0 };
    let values: Vec<Vec<u8>> = table.iter().unwrap().map(|entry| entry.unwrap().1.value().to_vec()).collect();
    let number = values[0][0];
    assert_eq!(values, vec![vec![number; 3_000 * usize::from(number)]; KEYS as usize]);
    number
}

fn check_commits(disk: &dyn Disk, left: &Path, (made, acknowledged): (bool, u8)) {
    if made {
        let found = found(disk, left);
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{acknowledged} transactions were acknowledged, and {found} are there"
        );
    }
}

#[test]
fn acknowledged_transactions_survive_a_loss_of_all_that_was_not_synced() {
    each_power_loss(Step::Sync, |_| Unsynced::Lost, commits, |left, done| check_commits(&OsDisk, left, done));
}

#[test]
fn acknowledged_transactions_survive_a_torn_loss() {
    // Recovery on a simulated disk too: it does not wait for the real one's syncs.
    each_power_loss(Step::Change, Unsynced::Torn, commits, |left, done| {
        check_commits(&SimDisk::new(left), left, done)
    });
}

#[test]
fn a_second_handle_to_a_database_is_refused() {
    let (root, disk) = empty();
    let first = open(&disk, root.path()).unwrap();
    assert!(open(&disk, root.path()).is_err());
    drop(first);
    assert!(open(&disk, root.path()).is_ok());
}
