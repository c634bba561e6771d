use super::*;

/// A key that no other number has.
fn key(number: u32) -> Key {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

/// The vector of a number.
fn vector(number: u32, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|at| number as f32 + at as f32 / 1000.0).collect()
}

fn put(store: &Store, numbers: std::ops::Range<u32>, dimensions: usize) {
    let entries: Vec<_> = numbers.map(|number| (key(number), vector(number, dimensions))).collect();
    store.put(entries.iter().map(|(key, vector)| (key, vector.as_slice())));
}

fn get(store: &Store, number: u32, dimensions: usize) -> Option<Vec<f32>> {
    store.get(&[key(number)], dimensions).remove(0)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_put_is_found_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = Store::new(dir.path().join("cache"), 1 << 20);
        for number in 0..round * 10 {
            assert_eq!(get(&store, number, 16).unwrap(), vector(number, 16));
        }
        assert!(get(&store, round * 10, 16).is_none());
        put(&store, round * 10..(round + 1) * 10, 16);
        let stats = store.stats();
        assert_eq!((stats.entries, stats.hits), (u64::from(round + 1) * 10, u64::from(round) * 10));
        assert_eq!(stats.misses, 1);
    }
}

#[test]
fn a_vector_of_another_length_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().into(), 1 << 20);
    put(&store, 0..1, 16);
    assert!(get(&store, 0, 15).is_none());
}

#[test]
fn keys_alike_in_their_first_bytes_are_not_mistaken() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().into(), 1 << 20);
    let (first, mut second) = (key(1), key(1));
    second[31] = 0;
    store.put([(&first, [1.0].as_slice())].into_iter());
    assert!(store.get(&[second], 1)[0].is_none());
    store.put([(&second, [2.0].as_slice())].into_iter());
    assert_eq!(store.get(&[second], 1)[0].as_deref(), Some([2.0].as_slice()));
    // the first is only not found
    assert!(store.get(&[first], 1)[0].as_deref().is_none_or(|vector| vector == [1.0]));
}

#[test]
fn it_stays_within_its_bound_and_keeps_the_newest_and_the_used() {
    let dir = tempfile::tempdir().unwrap();
    let max_bytes = 80 * Volume::entry_bytes(16);
    let store = Store::new(dir.path().into(), max_bytes);
    for number in 0..1000 {
        put(&store, number..number + 1, 16);
        assert!(get(&store, 0, 16).is_some(), "it was always in use, {number}");
        let bytes: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(bytes <= max_bytes && bytes == store.stats().bytes, "{bytes} after {number}");
    }
    assert!((960..1000).all(|number| get(&store, number, 16).is_some()));
    assert!(get(&store, 500, 16).is_none());

    // a smaller bound holds from the next start
    let store = Store::new(dir.path().into(), max_bytes / 4);
    assert!(get(&store, 999, 16).is_some());
    put(&store, 1000..1100, 16);
    assert!(store.stats().bytes <= max_bytes / 2, "{}", store.stats().bytes);
}

#[test]
fn no_damage_gives_a_wrong_vector() {
    let dir = tempfile::tempdir().unwrap();
    put(&Store::new(dir.path().into(), 1 << 20), 0..8, 4);
    for path in files(dir.path()) {
        let good = std::fs::read(&path).unwrap();
        let cut = (0..good.len()).map(|len| good[..len].to_vec());
        let flipped = (0..good.len()).map(|at| {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            bad
        });
        for (case, bytes) in cut.chain(flipped).enumerate() {
            std::fs::write(&path, bytes).unwrap();
            let store = Store::new(dir.path().into(), 1 << 20);
            let found = (0..8).filter(|&number| {
                let vector_found = get(&store, number, 4);
                assert!(vector_found.as_ref().is_none_or(|found| *found == vector(number, 4)));
                vector_found.is_some()
            });
            assert!(found.count() < 8, "case {case} of {}", path.display());
            // what is lost can be put again
            put(&store, 0..8, 4);
            assert!((0..8).all(|number| get(&store, number, 4).unwrap() == vector(number, 4)));
            drop(store);
            for path in files(dir.path()) {
                std::fs::remove_file(path).unwrap();
            }
            put(&Store::new(dir.path().into(), 1 << 20), 0..8, 4);
        }
    }
}

#[test]
fn files_that_go_away_are_only_missed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let store = Store::new(cache.clone(), 1 << 20);
    put(&store, 0..8, 4);
    std::fs::remove_dir_all(&cache).unwrap();
    let again = Store::new(cache.clone(), 1 << 20);
    assert!(get(&again, 0, 4).is_none());
    put(&again, 0..8, 4);
    assert!(get(&again, 0, 4).is_some());
    // a place that cannot be written to is only not a cache
    let nowhere = Store::new(files(&cache)[0].join("cache"), 1 << 20);
    put(&nowhere, 0..8, 4);
    assert!(get(&nowhere, 0, 4).is_none());
}
