//! The order of acceptance: which versions are given, which of them are on their way, and which document
//! ids were deleted while older versions of them were still on their way.
//!
//! Writes may be published in any order; of two versions of a document the later one stays. A delete is a
//! version too: it removes what is searchable at once, and its tombstone removes older versions that are
//! published after it. A tombstone is forgotten when nothing older is on its way.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::collection::catalog::{BatchRecord, Edit};

/// The order of acceptance of one collection.
#[derive(Debug, Default)]
pub struct Order {
    next_version: u64,
    /// First version → ids and count of each write that is not published yet.
    in_flight: BTreeMap<u64, InFlight>,
    /// Latest version on its way of each document id.
    pending: HashMap<String, u64>,
    tombstones: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct InFlight {
    documents: u64,
    /// `None`: accepted before the last start, and the ids were not read back yet.
    ids: Option<Vec<String>>,
}

impl Order {
    /// The order as recovery finds it; `last_version` is the highest in any segment.
    pub fn recover(last_version: u64, batches: &[BatchRecord], tombstones: BTreeMap<String, u64>) -> Order {
        let mut order = Order { next_version: last_version + 1, tombstones, ..Order::default() };
        for batch in batches {
            order.in_flight.insert(
                batch.first_version,
                // the ids are in the batch's file: a start does not wait for them
                InFlight { documents: batch.documents, ids: None },
            );
            order.next_version = order.next_version.max(batch.first_version + batch.documents);
        }
        let newest_tombstone = order.tombstones.values().copied().max().unwrap_or(0);
        order.next_version = order.next_version.max(newest_tombstone + 1);
        order
    }

    /// Gives the next `ids.len()` versions to a write; returns the first.
    pub fn accept(&mut self, ids: Vec<String>) -> u64 {
        let first = self.next_version;
        for (offset, id) in ids.iter().enumerate() {
            self.pending.insert(id.clone(), first + offset as u64);
        }
        self.next_version += ids.len().max(1) as u64;
        self.in_flight.insert(first, InFlight { documents: ids.len() as u64, ids: Some(ids) });
        first
    }

    /// First versions of the writes whose ids were not read back since the last start.
    pub fn unread(&self) -> Vec<u64> {
        let unread = self.in_flight.iter().filter(|(_, write)| write.ids.is_none());
        unread.map(|(&first, _)| first).collect()
    }

    /// The ids of the write that began at `first`, as they were read back.
    pub fn learn(&mut self, first: u64, ids: Vec<String>) {
        let Some(write) = self.in_flight.get_mut(&first) else { return };
        for (version, id) in (first..).zip(&ids) {
            let latest = self.pending.entry(id.clone()).or_insert(version);
            *latest = version.max(*latest);
        }
        write.ids = Some(ids);
    }

    /// The highest version given so far.
    pub fn last_version(&self) -> u64 {
        self.next_version.saturating_sub(1)
    }

    /// Gives the next version to a delete.
    pub fn accept_delete(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version - 1
    }

    /// The write that began at `first` is to be given up: of its ids, versions that are older and on their way are the
    /// latest again.
    pub fn withdraw(&mut self, first: u64) {
        let Order { in_flight, pending, .. } = self;
        let Some(withdrawn) = in_flight.get(&first) else { return };
        let own: HashSet<&String> = withdrawn.ids.iter().flatten().collect();
        let end = first + withdrawn.documents;
        for (&older, write) in in_flight.range(..first) {
            for (version, id) in (older..).zip(write.ids.iter().flatten()) {
                if own.contains(id)
                    && let Some(latest) = pending.get_mut(id).filter(|latest| **latest < end)
                {
                    *latest = version; // the last that is set is the latest of them
                }
            }
        }
    }

    /// The write that began at `first` is published (or given up).
    pub fn finish(&mut self, first: u64) {
        let Some(done) = self.in_flight.remove(&first) else { return };
        for (version, id) in (first..).zip(done.ids.into_iter().flatten()) {
            if self.pending.get(&id) == Some(&version) {
                self.pending.remove(&id);
            }
        }
    }

    /// Whether a write older than `version` is on its way.
    pub fn older_in_flight(&self, version: u64) -> bool {
        self.in_flight.first_key_value().is_some_and(|(&first, _)| first < version)
    }

    /// Whether a version of that document below `version` is on its way and not deleted already, among the
    /// writes that are not [`unread`](Self::unread).
    pub fn is_pending(&self, id: &str, version: u64) -> bool {
        self.pending.get(id).is_some_and(|&pending| pending < version && !self.is_buried(id, pending))
    }

    /// Whether a version of that document above `version` is on its way, with the same exception.
    pub fn has_newer(&self, id: &str, version: u64) -> bool {
        self.pending.get(id).is_some_and(|&pending| pending > version)
    }

    /// How many documents are on their way.
    pub fn pending_documents(&self) -> u64 {
        self.in_flight.values().map(|write| write.documents).sum()
    }

    /// Remembers a delete, where it matters. Returns the edit that makes it durable.
    pub fn bury(&mut self, collection: u64, id: &str, version: u64) -> Option<Edit> {
        if !self.older_in_flight(version) {
            return None;
        }
        // deletes may arrive out of order: the latest one counts
        let latest = self.tombstones.entry(id.to_owned()).or_insert(version);
        *latest = version.max(*latest);
        let version = *latest;
        Some(Edit::PutTombstone(collection, id.to_owned(), version))
    }

    /// Whether that version of a document was deleted before it was published.
    pub fn is_buried(&self, id: &str, version: u64) -> bool {
        self.tombstones.get(id).is_some_and(|&tombstone| tombstone > version)
    }

    /// Tombstones that will have no effect once the writes that begin at `done` are published. They may be
    /// forgotten in the same transaction: call [`forget`](Self::forget) after it.
    pub fn spent_tombstones(&self, done: &[u64]) -> Vec<String> {
        let oldest = self.in_flight.keys().find(|first| !done.contains(first)).copied().unwrap_or(u64::MAX);
        self.tombstones.iter().filter(|&(_, &version)| version <= oldest).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets tombstones.
    pub fn forget(&mut self, ids: &[String]) {
        for id in ids {
            self.tombstones.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[&str]) -> Vec<String> {
        list.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_delete_overtakes_an_older_write_and_is_forgotten_after_it() {
        let mut order = Order::recover(9, &[], BTreeMap::new());
        let first = order.accept(ids(&["a", "b"]));
        assert_eq!(first, 10);
        let delete = order.accept_delete();
        assert!(order.is_pending("b", delete));
        assert!(order.bury(1, "b", delete).is_some());
        assert!(!order.is_pending("b", order.next_version), "it is deleted once");
        assert!(
            order.bury(1, "b", delete - 1).is_some(),
            "an earlier delete that arrives later changes nothing"
        );
        let later = order.accept(ids(&["b"]));
        assert!(order.is_buried("b", first + 1) && !order.is_buried("b", later));
        assert!(order.spent_tombstones(&[]).is_empty());
        assert_eq!(order.spent_tombstones(&[first]), ["b"]);
        order.finish(first);
        order.forget(&ids(&["b"]));
        assert!(!order.is_buried("b", first + 1));
        assert!(order.is_pending("b", u64::MAX) && !order.is_pending("a", u64::MAX));
        order.finish(later);
        assert_eq!(order.pending_documents(), 0);
        assert!(order.bury(1, "b", order.next_version).is_none());
    }

    #[test]
    fn a_write_that_is_withdrawn_gives_way_to_older_ones() {
        let mut order = Order::recover(9, &[], BTreeMap::new());
        order.accept(ids(&["a", "b"]));
        order.accept(ids(&["a"]));
        let withdrawn = order.accept(ids(&["a", "a", "b", "c", "d"]));
        let newer = order.accept(ids(&["b", "c"]));
        order.withdraw(withdrawn);
        order.finish(withdrawn);
        assert!(order.is_pending("a", 13) && !order.is_pending("a", 12) && !order.has_newer("a", 12));
        assert!(order.has_newer("b", newer - 1) && order.has_newer("c", newer));
        assert!(!order.is_pending("d", u64::MAX));
        order.finish(10);
        order.finish(12);
        assert!(!order.is_pending("a", u64::MAX) && order.has_newer("b", newer - 1));
    }

    #[test]
    fn recovery_never_gives_a_version_twice() {
        let batch = BatchRecord { first_version: 20, documents: 5, bytes: 0, job: String::new() };
        let mut order = Order::recover(7, &[batch], BTreeMap::from([("x".to_owned(), 30)]));
        assert_eq!(order.accept(ids(&["y"])), 31);
        assert!(order.is_buried("x", 24));
        assert!(order.older_in_flight(21) && !order.older_in_flight(20));
        assert_eq!(order.pending_documents(), 6);
    }

    #[test]
    fn what_was_accepted_before_the_start_is_known_once_it_was_read_back() {
        let batch = |first_version| BatchRecord { first_version, documents: 2, bytes: 0, job: String::new() };
        let mut order = Order::recover(7, &[batch(10), batch(12)], BTreeMap::from([("x".to_owned(), 14)]));
        let newer = order.accept(ids(&["a"]));
        assert!(!order.is_pending("b", newer));
        assert_eq!(order.unread(), [10, 12]);
        order.learn(10, ids(&["a", "b"]));
        assert_eq!(order.unread(), [12]);
        order.learn(12, ids(&["b", "x"]));
        assert!(order.is_pending("b", newer) && !order.is_pending("x", newer), "x was deleted");
        order.finish(10);
        assert!(order.is_pending("b", newer), "its later version is still on its way");
        assert!(order.is_pending("a", u64::MAX), "a newer write is not forgotten");
        order.finish(12);
        assert!(!order.is_pending("b", newer) && order.unread().is_empty());
    }
}
