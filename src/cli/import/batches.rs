//! Packs what the readers give into writes, on a thread of its own.

use std::mem;

use tokio::sync::mpsc;

use crate::document::Document;
use crate::import::{self, Columns, Origin, ReadError, Source};

/// The most documents of a write.
const MAX_DOCUMENTS: usize = 1000;
/// The most bytes of a write (a longer document goes alone).
const MAX_BYTES: usize = 4 << 20;

/// What comes out of the files.
pub enum Piece {
    /// Documents to write.
    Batch(Batch),
    /// Something that is no document.
    Failed(ReadError),
    /// A file that holds nothing.
    Empty(String),
}

/// The documents of one write.
#[derive(Default)]
pub struct Batch {
    /// The documents.
    pub documents: Vec<Document>,
    /// Where each was read.
    pub origins: Vec<Origin>,
    /// Bytes of their titles and texts.
    pub text_bytes: u64,
    /// Bytes of files read for this batch.
    pub file_bytes: u64,
}

/// Reads all `sources` in order on a blocking thread; at most two pieces wait to be taken.
pub fn read(sources: Vec<Source>, columns: Columns) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        pack(&sources, &columns, |piece| sender.blocking_send(piece).is_ok())
    });
    receiver
}

/// Gives pieces to `send` until it says that nobody takes them.
fn pack(sources: &[Source], columns: &Columns, mut send: impl FnMut(Piece) -> bool) {
    let mut batch = Batch::default();
    let mut batch_bytes = 0;
    // file bytes behind us, and those of them that a batch accounts for
    let (mut read, mut accounted) = (0, 0);
    for source in sources {
        let mut is_empty = true;
        for row in import::read(source, columns) {
            is_empty = false;
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    if !send(Piece::Failed(error)) {
                        return;
                    }
                    continue;
                }
            };
            let bytes = document_bytes(&row.document);
            let full = batch.documents.len() == MAX_DOCUMENTS || batch_bytes + bytes > MAX_BYTES;
            if full && !batch.documents.is_empty() {
                batch_bytes = 0;
                if !send(Piece::Batch(mem::take(&mut batch))) {
                    return;
                }
            }
            batch_bytes += bytes;
            batch.text_bytes += text_bytes(&row.document);
            batch.file_bytes += (read + row.bytes_read).saturating_sub(accounted);
            accounted = accounted.max(read + row.bytes_read);
            batch.documents.push(row.document);
            batch.origins.push(row.origin);
        }
        read += source.bytes;
        if is_empty && !send(Piece::Empty(source.path.display().to_string())) {
            return;
        }
    }
    if !batch.documents.is_empty() {
        send(Piece::Batch(batch));
    }
}

fn text_bytes(document: &Document) -> u64 {
    (document.text.len() + document.title.as_ref().map_or(0, String::len)) as u64
}

/// About what the document takes in a request.
fn document_bytes(document: &Document) -> usize {
    let metadata = if document.metadata.is_empty() { 0 } else { document.metadata.len() * 64 };
    document.text.len() + metadata + document.vector.as_ref().map_or(0, |vector| vector.len() * 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Format;

    fn batches(lines: &str) -> Vec<Batch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, lines).unwrap();
        let source =
            Source { path, name: "a.jsonl".into(), format: Format::Jsonl, bytes: lines.len() as u64 };
        let mut batches = Vec::new();
        pack(&[source], &Columns::default(), |piece| {
            if let Piece::Batch(batch) = piece {
                batches.push(batch);
            }
            true
        });
        batches
    }

    #[test]
    fn batches_are_bounded_by_documents() {
        let lines = "{\"text\":\"t\"}\n".repeat(2500);
        let batches = batches(&lines);
        assert_eq!(batches.iter().map(|batch| batch.documents.len()).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(batches.iter().map(|batch| batch.file_bytes).sum::<u64>(), lines.len() as u64);
        assert_eq!(batches[1].origins[0].position, Some(1001));
    }

    #[test]
    fn batches_are_bounded_by_bytes_and_a_long_document_goes_alone() {
        let line = |length| format!("{{\"text\":\"{}\"}}\n", "x".repeat(length));
        let lines = [line(3 << 20), line(2 << 20), line(5 << 20), line(1), line(1)].concat();
        let counts: Vec<_> = batches(&lines).iter().map(|batch| batch.documents.len()).collect();
        assert_eq!(counts, [1, 1, 1, 2]);
    }
}
