//! Any bytes as a whole file: opened as the kind of part that its header says, and all of it read. Checksums are
//! made right where the trailer says they are, so that damage gets past them; files of `fixtures/format` are
//! good to begin with.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use gleaner::collection::{failed, inbox};
use gleaner::segment::SourcePart;
use gleaner::store::part::BLOCK;
use gleaner::store::{PartFile, PartKind, Result};
use gleaner::vector::graph::search;
use gleaner::vector::{Effort, GraphPart, Query, VectorPart, scan};
use gleaner_fuzz::path;
use libfuzzer_sys::{Corpus, fuzz_target};

const KINDS: [PartKind; 6] = [
    PartKind::Text,
    PartKind::Source,
    PartKind::Vectors,
    PartKind::Graph,
    PartKind::Inbox,
    PartKind::Failed,
];
const TRAILER: usize = 32;

fuzz_target!(|data: &[u8]| -> Corpus {
    let number = data.get(12).copied().unwrap_or(0);
    let kind = KINDS[(number.saturating_sub(1) as usize).min(KINDS.len() - 1)];
    let path = path(&format!("1.{}", kind.name()));
    let mut repaired = data.to_vec();
    repair(&mut repaired);
    for bytes in [data, &repaired] {
        std::fs::write(&path, bytes).expect("a file");
        let _ = read(&path, kind);
        std::fs::remove_file(&path).expect("the file is removed");
    }
    Corpus::Keep
});

/// Makes the checksums right, where they are where the trailer says.
fn repair(file: &mut [u8]) -> Option<()> {
    let trailer = file.len().checked_sub(TRAILER)?;
    let word =
        |file: &[u8], at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize);
    let (sections, blocks) = (word(file, trailer)?, word(file, trailer + 4)?);
    let covered = word(file, trailer + 8)?;
    let crcs = covered.checked_add(sections.checked_mul(24)?)?;
    if crcs.checked_add(blocks.checked_mul(4)?)? != trailer {
        return None;
    }
    for block in 0..blocks.min(covered.div_ceil(BLOCK)) {
        let crc = crc32fast::hash(&file[block * BLOCK..covered.min((block + 1) * BLOCK)]);
        file[crcs + block * 4..][..4].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32fast::hash(&file[covered..trailer + 16]);
    file[trailer + 16..trailer + 20].copy_from_slice(&crc.to_le_bytes());
    Some(())
}

fn read(path: &Path, kind: PartKind) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    match kind {
        PartKind::Inbox => {
            let _ = inbox::read_ids(folder, 1);
            inbox::read(folder, 1)?;
        }
        PartKind::Failed => drop(failed::read(folder, 1)?),
        _ => {}
    }
    let file = PartFile::open(path, kind)?;
    let intact = file.verify().is_ok();
    for section in (0..10).filter_map(|id| file.optional_section(id)) {
        let all = section.all();
        assert!(all.is_ok() || !intact, "a section of an undamaged file");
        let len = section.len();
        assert!(section.bytes(len..len + 1).is_err() && section.bytes(usize::MAX - 1..usize::MAX).is_err());
        let _ = (section.cast::<u32>(), section.cast::<f32>(), section.cast::<u64>());
    }
    match kind {
        PartKind::Source => source(file),
        PartKind::Vectors => vectors(file),
        PartKind::Graph => graph(file),
        PartKind::Text | PartKind::Inbox | PartKind::Failed => Ok(()),
    }
}

fn source(file: Arc<PartFile>) -> Result<()> {
    let part = SourcePart::open(file)?;
    // damage is an error of what is damaged; the rest is read
    for ordinal in 0..part.documents() {
        let Ok(entry) = part.document(ordinal) else { continue };
        let _ = (part.head(&entry), part.text(&entry), part.chunks(&entry));
        if let Ok(id) = part.id(&entry) {
            let _ = (part.find(id), part.id_rank(id, true));
        }
        let _ = part.by_id_rank(ordinal);
    }
    for row in 0..part.rows() {
        let Ok(chunk) = part.chunk(row) else { continue };
        let _ = part.headings(&chunk);
        if let Ok(entry) = part.document(chunk.document) {
            let _ = part.text_range(&entry, chunk.byte_start..chunk.byte_end);
        }
    }
    Ok(())
}

fn vectors(file: Arc<PartFile>) -> Result<()> {
    let part = VectorPart::open(file)?;
    let query = query(part.metric(), part.dimensions());
    scan(&part, &query, 10, Effort::Recall(0.95), None)?;
    part.check_codes()
}

/// Over vectors of its own number of rows and dimensions, if there are few.
fn graph(file: Arc<PartFile>) -> Result<()> {
    let header = file.section(1)?;
    let rows = header.bytes(0..4)?;
    let rows = u32::from_le_bytes([rows[0], rows[1], rows[2], rows[3]]);
    let graph = GraphPart::open(file, rows)?;
    let _ = graph.reachable();
    let _ = graph.check_links();
    let dimensions = graph.dimensions();
    if rows > 100 || dimensions > 100 {
        return Ok(());
    }
    let stride = dimensions.next_multiple_of(64);
    let part = gleaner_fuzz::part(
        PartKind::Vectors,
        &[
            (1, gleaner_fuzz::bytes([rows, dimensions, 3, stride])),
            (2, gleaner_fuzz::bytes((0..rows * dimensions).map(|at| (at as f32 * 0.7).sin().to_bits()))),
            (3, (0..rows * stride).map(|at| (at * 7) as u8).collect()),
            (4, gleaner_fuzz::bytes((0..rows * 3).map(|_| 0.5f32.to_bits()))),
        ],
    );
    let part = VectorPart::open(part)?;
    let query = query(part.metric(), dimensions);
    search(&part, &graph, &query, 10, Effort::Recall(0.95), None).map(drop)
}

fn query(metric: gleaner::collection::definition::Metric, dimensions: u32) -> Query {
    Query::new(metric, dimensions, &vec![0.5; dimensions as usize]).expect("a finite query")
}
