//! Lists of any length, one for each row, in two flat arrays.

/// A list of rows for each row.
#[derive(Debug)]
pub(super) struct Lists {
    starts: Vec<usize>,
    others: Vec<u32>,
}

impl Lists {
    /// Collects what `each_pair` passes on: a row, and what goes into its list. It is called twice, to count and to
    /// fill, and must pass on the same pairs.
    pub fn collect(rows: u32, each_pair: impl Fn(&mut dyn FnMut(u32, u32))) -> Lists {
        let mut starts = vec![0; rows as usize + 1];
        each_pair(&mut |row, _| starts[row as usize + 1] += 1);
        for row in 0..rows as usize {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut others = vec![0; starts[rows as usize]];
        each_pair(&mut |row, other| {
            others[next[row as usize]] = other;
            next[row as usize] += 1;
        });
        Lists { starts, others }
    }

    /// The list of `row`.
    pub fn of(&self, row: u32) -> &[u32] {
        &self.others[self.starts[row as usize]..self.starts[row as usize + 1]]
    }
}
