//! Checks every byte of a data directory that nobody serves, and that its parts agree with each other.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::collection::{catalog, failed, inbox, recovery};
use crate::error::{Error, Result};
use crate::segment::{Segment, part_kinds, part_path};
use crate::store::lock::DirLock;
use crate::store::{OsDisk, PartFile, PartKind, StoreError};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Files checked.
    pub files: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// Live documents.
    pub documents: u64,
    /// What is wrong, each naming its file (and block).
    pub problems: Vec<String>,
    /// Files that a crash left and that the next start removes; no damage.
    pub leftovers: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for path in &self.leftovers {
            writeln!(f, "{path} was left by a crash; the next start removes it")?;
        }
        let verdict = if self.is_clean() { "clean" } else { "DAMAGED" };
        write!(f, "{verdict}: {} files, {} bytes, {} documents", self.files, self.bytes, self.documents)
    }
}

/// Checks a data directory. Damage is in the report; an error means that it could not be checked at all
/// (another gleaner holds it, or the catalog is unreadable).
pub fn verify(data_dir: &Path) -> Result<VerifyReport> {
    if !data_dir.join(catalog::FILE).exists() {
        let message = format!("{} holds no gleaner data (no {})", data_dir.display(), catalog::FILE);
        return Err(Error::invalid("data_dir", message));
    }
    let _lock = DirLock::take(data_dir)?;
    let mut report = VerifyReport::default();
    match catalog::verify(Arc::new(OsDisk), data_dir) {
        Ok(()) => {}
        // a process that is about to end, not damage
        Err(error @ StoreError::Locked { .. }) => return Err(error.into()),
        Err(error) => report.problems.push(error.to_string()),
    }
    let state = catalog::read(Arc::new(OsDisk), data_dir)?;
    report.files += 1;
    report.bytes += std::fs::metadata(data_dir.join(catalog::FILE)).map_or(0, |meta| meta.len());
    for (id, collection) in &state.collections {
        let dir = recovery::collections_dir(data_dir).join(id.to_string());
        let mut seen = std::collections::HashSet::new();
        for record in &collection.segments {
            let before = report.problems.len();
            for kind in part_kinds(record) {
                check_file(&part_path(&dir, record.id, kind), kind, &mut report);
            }
            if report.problems.len() > before {
                continue; // what follows would only repeat it
            }
            let segment = Segment::open(&dir, record.clone());
            let deleted = collection.deletes.get(&record.id).cloned().unwrap_or_default();
            if let Err(error) = check_segment(&segment, &deleted, &mut report) {
                report.problems.push(error.to_string());
            }
            for id in live_ids(&segment, &deleted).unwrap_or_default() {
                if let Some(id) = seen.replace(id) {
                    report.problems.push(format!("{}: document `{id}` is live twice", dir.display()));
                }
            }
        }
        for batch in &collection.batches {
            let path = inbox::path(&dir, batch.first_version);
            check_file(&path, PartKind::Inbox, &mut report);
            if let Ok(documents) = inbox::read(&dir, batch.first_version)
                && documents.len() as u64 != batch.documents
            {
                report.problems.push(format!("{} has lost documents", path.display()));
            }
        }
        for batch in recovery::failed_batches(&state.jobs, &collection.record.name) {
            check_file(&failed::path(&dir, batch), PartKind::Failed, &mut report);
        }
        report.documents += seen.len() as u64;
    }
    for path in recovery::orphans(data_dir, &state)? {
        report.leftovers.push(path.display().to_string());
    }
    Ok(report)
}

fn check_file(path: &Path, kind: PartKind, report: &mut VerifyReport) {
    report.files += 1;
    match PartFile::open(path, kind) {
        Err(error) => report.problems.push(error.to_string()),
        Ok(file) => {
            report.bytes += file.file_len();
            report.problems.extend(file.verify().err().map(|error| error.to_string()));
        }
    }
}

/// Whether the parts of a segment agree: every row belongs to the document that says so, every text can be
/// read, every chunk lies in its text, deletes are of whole documents, every graph row is reachable.
fn check_segment(
    segment: &Segment,
    deleted: &roaring::RoaringBitmap,
    report: &mut VerifyReport,
) -> Result<()> {
    if let Some(error) = segment.damage().into_iter().next() {
        return Err(error);
    }
    let source = segment.source()?;
    let file = source.file().path().display();
    let mut next_row = 0;
    for ordinal in 0..source.documents() {
        let entry = source.document(ordinal)?;
        let text = source.text(&entry)?;
        source.head(&entry)?;
        if entry.first_row != next_row {
            report.problems.push(format!("{file}: the rows of document {ordinal} are not in order"));
        }
        next_row = entry.first_row + entry.rows;
        for row in entry.row_range() {
            let chunk = source.chunk(row)?;
            source.headings(&chunk)?;
            if chunk.document != ordinal
                || text.get(chunk.byte_start as usize..chunk.byte_end as usize).is_none()
            {
                report.problems.push(format!("{file}: row {row} does not lie in its document"));
            }
        }
        let gone = entry.row_range().filter(|&row| deleted.contains(row)).count() as u32;
        if gone != 0 && gone != entry.rows {
            report.problems.push(format!("{file}: document {ordinal} is deleted in part"));
        }
    }
    if next_row != segment.rows() {
        report
            .problems
            .push(format!("{file}: {next_row} rows have a document, the segment has {}", segment.rows()));
    }
    if let Some(graph) = segment.graph()? {
        let reachable = graph.reachable()?;
        if reachable != segment.rows() {
            report.problems.push(format!(
                "{}: {reachable} of {} rows can be reached",
                part_path(
                    source.file().path().parent().unwrap_or(Path::new("")),
                    segment.record.id,
                    PartKind::Graph
                )
                .display(),
                segment.rows()
            ));
        }
    }
    Ok(())
}

fn live_ids(segment: &Segment, deleted: &roaring::RoaringBitmap) -> Result<Vec<String>> {
    let source = segment.source()?;
    let mut ids = Vec::new();
    for ordinal in 0..source.documents() {
        let entry = source.document(ordinal)?;
        if !deleted.contains(entry.first_row) {
            ids.push(source.id(&entry)?.to_owned());
        }
    }
    Ok(ids)
}
