//! What a vector takes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes that a vector takes, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BytesPerVector {
    /// As it is stored (`vector.storage`); 0 for `int8`, where the code is all there is. Searches read only the few
    /// that they score, so these may stay on disk.
    pub originals: f64,
    /// Its code and its sketch.
    pub codes: f64,
    /// Its links.
    pub graph: f64,
    /// Codes, sketches and graph: what searches read all over and memory should have room for.
    pub in_memory: f64,
}

impl BytesPerVector {
    /// From the bytes of `rows` stored vectors and of the files that hold them and their graph; `None` without rows.
    pub fn new(rows: u64, originals: u64, vectors_file: u64, graph_file: u64) -> Option<BytesPerVector> {
        let each = |bytes: u64| (bytes as f64 / rows as f64 * 10.0).round() / 10.0;
        let codes = vectors_file.saturating_sub(originals);
        (rows > 0).then(|| BytesPerVector {
            originals: each(originals),
            codes: each(codes),
            graph: each(graph_file),
            in_memory: each(codes + graph_file),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_by_row_and_what_is_no_original_is_in_memory() {
        let bytes = BytesPerVector::new(3, 300, 390, 60).unwrap();
        assert_eq!(bytes, BytesPerVector { originals: 100.0, codes: 30.0, graph: 20.0, in_memory: 50.0 });
        assert_eq!(BytesPerVector::new(0, 0, 64, 64), None);
    }
}
