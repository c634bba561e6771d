//! Writes one segment from the live rows of others. Rows keep their order, so every part drops the same
//! rows and row r means the same chunk in all of them.

use crate::collection::catalog::SegmentRecord;
use crate::collection::definition::VectorDefinition;
use crate::error::Result;
use crate::rows::RowSet;
use crate::segment::build::SegmentPlace;
use crate::segment::source::{DocumentEntry, SourceWriter};
use crate::segment::{Segment, SourcePart};
use crate::store::PartKind;
use crate::text;
use crate::vector::VectorWriter;
use crate::vector::graph::Ancestor;

/// Writes segment `id` from the rows in `alive` of each input (whole documents) and fsyncs it.
pub fn merge(place: &SegmentPlace<'_>, id: u64, inputs: &[(&Segment, &RowSet)]) -> Result<SegmentRecord> {
    let (text, (source, vectors)) = rayon::join(
        || write_text(place, id, inputs),
        || rayon::join(|| write_source(place, id, inputs), || write_vectors(place, id, inputs)),
    );
    let (text, (source, documents), vectors) = (text?, source?, vectors?);
    place.sync()?;
    Ok(SegmentRecord {
        id,
        rows: inputs.iter().map(|(_, alive)| alive.len()).sum(),
        documents,
        max_version: inputs.iter().map(|(segment, _)| segment.record.max_version).max().unwrap_or(0),
        vectors: vectors.is_some(),
        graph: false,
        bytes: text + source + vectors.unwrap_or(0),
    })
}

/// Of the inputs' graphs, the one that most rows of the merged segment are from, if it is worth keeping.
pub fn ancestor(inputs: &[(&Segment, &RowSet)]) -> Option<Ancestor> {
    let mut rows = 0;
    let mut largest: Option<Ancestor> = None;
    for (segment, alive) in inputs {
        if let Some(ancestor) = segment.to_ancestor() {
            let moved = ancestor.moved(alive, rows);
            if largest.as_ref().is_none_or(|largest| largest.rows() < moved.rows()) {
                largest = Some(moved);
            }
        }
        rows += alive.len();
    }
    largest.filter(|ancestor| ancestor.is_worth_it(rows))
}

/// Documents of a segment with rows in `alive`, in row order.
pub fn live_documents<'a>(
    source: &'a SourcePart,
    alive: &'a RowSet,
) -> impl Iterator<Item = Result<DocumentEntry>> + 'a {
    (0..source.documents()).filter_map(move |ordinal| match source.document(ordinal) {
        Ok(entry) if alive.contains(entry.first_row) => Some(Ok(entry)),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    })
}

fn write_text(place: &SegmentPlace<'_>, id: u64, inputs: &[(&Segment, &RowSet)]) -> Result<u64> {
    let mut parts = Vec::with_capacity(inputs.len());
    for (segment, alive) in inputs {
        parts.push((segment.text()?, *alive));
    }
    text::merge(&parts, place.part(id, PartKind::Text)?)
}

fn write_source(place: &SegmentPlace<'_>, id: u64, inputs: &[(&Segment, &RowSet)]) -> Result<(u64, u32)> {
    let mut writer = SourceWriter::new(place.part(id, PartKind::Source)?)?;
    let mut documents = 0;
    for (segment, alive) in inputs {
        let source = segment.source()?;
        for entry in live_documents(source, alive) {
            let entry = entry?;
            let (head, text) = (source.head(&entry)?, source.text(&entry)?);
            writer.push(source.id(&entry)?, entry.version, &head, &text, &source.chunks(&entry)?)?;
            documents += 1;
        }
    }
    Ok((writer.finish()?, documents))
}

fn write_vectors(place: &SegmentPlace<'_>, id: u64, inputs: &[(&Segment, &RowSet)]) -> Result<Option<u64>> {
    let Some(dimensions) = place.dimensions else { return Ok(None) };
    let part = place.part(id, PartKind::Vectors)?;
    let VectorDefinition { metric, storage, .. } = place.definition.vector;
    let mut writer = VectorWriter::new(part, metric, storage, dimensions)?;
    for (segment, alive) in inputs {
        if let Some(vectors) = segment.vectors()? {
            vectors.expect_reading_all();
            for row in alive.iter() {
                writer.push_from(vectors, row)?;
            }
        }
    }
    Ok(Some(writer.finish()?))
}
