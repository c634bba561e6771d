//! Rows packed sixteen at a time, the shape in which the distances of a row to many others are computed.

use super::space::Space;
use crate::vector::distance::{self, LANES, PANEL_HEADER, TileRow};

/// Rows packed into panels of [`LANES`].
///
/// A panel is sixteen rows side by side, in words of four bytes: one word of each row's scale, base, extension
/// and bias (see [`distance::PANEL_HEADER`]), then for every four dimensions one word of codes of each row.
/// Lanes past the last row are infinitely far from everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Panels {
    words: Vec<i32>,
    stride: usize,
}

impl Panels {
    /// Packs `rows` of `space` in place of what was packed before.
    pub fn pack(&mut self, space: &Space<'_>, mut rows: impl ExactSizeIterator<Item = u32> + Clone) {
        let mut ahead = rows.clone();
        ahead.by_ref().take(LANES).for_each(|row| space.prefetch(row));
        self.stride = distance::panel_words(4 * space.groups());
        self.words.resize(rows.len().div_ceil(LANES) * self.stride, 0);
        for panel in self.words.chunks_exact_mut(self.stride) {
            ahead.by_ref().take(LANES).for_each(|row| space.prefetch(row));
            let (header, words) = panel.split_at_mut(LANES * PANEL_HEADER);
            let packed = rows.len().min(LANES);
            let mut codes = [space.no_codes(); LANES];
            header.fill(0);
            header[LANES..2 * LANES].fill(f32::INFINITY.to_bits() as i32);
            for (lane, row) in rows.by_ref().take(packed).enumerate() {
                let of_row = space.panel_header(row);
                header
                    .iter_mut()
                    .skip(lane)
                    .step_by(LANES)
                    .zip(of_row)
                    .for_each(|(word, of_row)| *word = of_row);
                codes[lane] = space.codes(row);
            }
            distance::pack(&codes, words);
        }
    }

    /// The panels, one after the other, as they are written to a file.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The panels from the one that holds row `at` of the packed rows, with the position of its first lane.
    pub fn from(&self, at: usize) -> impl Iterator<Item = (usize, &[i32])> {
        let first = at / LANES;
        let panels = self.words[first * self.stride..].chunks_exact(self.stride);
        panels.enumerate().map(move |(index, panel)| ((first + index) * LANES, panel))
    }

    /// Calls `found` for every packed row nearer than `row.below`, with its position and distance.
    pub fn near(&self, row: &TileRow<'_>, from: usize, mut found: impl FnMut(usize, f32)) {
        let mut distances = [0.0; LANES];
        for (first, panel) in self.from(from) {
            let below = distance::near_one(row, panel, &mut distances);
            for lane in distance::lanes(below) {
                found(first + lane, distances[lane]);
            }
        }
    }
}
