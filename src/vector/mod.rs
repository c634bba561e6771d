//! The dense leg: distances, codes, scans and the HNSW graph over the rows of a segment.
