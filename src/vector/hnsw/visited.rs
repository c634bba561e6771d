//! Which rows a walk has seen, without clearing between walks.

use parking_lot::Mutex;

/// Marks for the rows of one graph. A row is marked if its stamp is the current one.
#[derive(Debug)]
pub(super) struct Visited {
    stamps: Vec<u16>,
    current: u16,
}

impl Visited {
    /// Marks `row`; whether it was not marked yet. `row` must be below the graph's rows.
    #[inline]
    pub fn insert(&mut self, row: u32) -> bool {
        let stamp = &mut self.stamps[row as usize];
        let new = *stamp != self.current;
        *stamp = self.current;
        new
    }
}

/// Marks that no walk uses at the moment: as many as ever ran at once.
#[derive(Debug, Default)]
pub(super) struct VisitedPool(Mutex<Vec<Visited>>);

impl VisitedPool {
    /// Runs `walk` with marks for `rows` rows, none of them set.
    pub fn with<T>(&self, rows: u32, walk: impl FnOnce(&mut Visited) -> T) -> T {
        let free = self.0.lock().pop();
        let mut visited = free.unwrap_or_else(|| Visited { stamps: vec![0; rows as usize], current: 0 });
        visited.current = visited.current.wrapping_add(1);
        if visited.current == 0 {
            visited.stamps.fill(0);
            visited.current = 1;
        }
        let result = walk(&mut visited);
        self.0.lock().push(visited);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_outlive_a_walk_even_when_stamps_wrap() {
        let pool = VisitedPool::default();
        for walk in 0..150_000u32 {
            pool.with(3, |visited| {
                let row = walk % 3;
                assert!(visited.insert(row), "walk {walk}");
                assert!(!visited.insert(row));
            });
        }
    }
}
