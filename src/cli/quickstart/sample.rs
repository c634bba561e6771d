//! The sample: gleaner's own documentation, inside the binary so that it is there in any directory.

use crate::document::Document;
use crate::import::text::heading;

/// Path and text of each file.
const FILES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../README.md")),
    ("ARCHITECTURE.md", include_str!("../../../ARCHITECTURE.md")),
    ("docs/concepts.md", include_str!("../../../docs/concepts.md")),
    ("docs/configuration.md", include_str!("../../../docs/configuration.md")),
    ("docs/filters.md", include_str!("../../../docs/filters.md")),
    ("docs/ingesting.md", include_str!("../../../docs/ingesting.md")),
    ("docs/operations.md", include_str!("../../../docs/operations.md")),
    ("docs/promise.md", include_str!("../../../docs/promise.md")),
    ("docs/searching.md", include_str!("../../../docs/searching.md")),
    ("indexes/README.md", include_str!("../../../indexes/README.md")),
];

/// The sample's documents: id and uri are the path, the title is the first heading.
pub fn documents() -> Vec<Document> {
    FILES
        .iter()
        .map(|(path, text)| Document {
            id: Some((*path).into()),
            uri: Some((*path).into()),
            title: heading(text),
            text: (*text).into(),
            ..Document::default()
        })
        .collect()
}

/// Bytes of all texts.
pub fn bytes() -> usize {
    FILES.iter().map(|(_, text)| text.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::import::walk;

    #[test]
    fn the_list_is_the_files_of_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = walk(&[root.join("docs")]).unwrap().sources;
        let docs =
            docs.iter().map(|source| format!("docs/{}", source.name)).filter(|name| name.ends_with(".md"));
        let mut expected: Vec<_> = docs.collect();
        expected.extend(["README.md", "ARCHITECTURE.md", "indexes/README.md"].map(str::to_owned));
        expected.sort();
        let mut listed: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, expected);
    }

    #[test]
    fn every_document_has_a_title() {
        for document in documents() {
            assert!(document.title.is_some(), "{:?} has no heading", document.id);
        }
    }
}
