//! Parquet: a document a row, streamed batch by batch.
//!
//! A damaged file is an error that names it: the decoder's panics are caught, and reading ends there.

mod columns;
mod value;

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

pub use columns::Columns;
use columns::{BatchColumns, Selection};

use super::{Origin, ReadError, Row};

/// Rows decoded at once: texts can be long.
const BATCH_ROWS: usize = 256;

/// The documents of one file.
pub struct ParquetReader {
    /// Taken away by an error that ends the file.
    batches: Option<ParquetRecordBatchReader>,
    selection: Selection,
    ready: VecDeque<Result<Row, ReadError>>,
    origin: Origin,
    row: u64,
    rows: u64,
    bytes: u64,
}

impl ParquetReader {
    /// Opens the file, finds `columns` in it and checks their types.
    pub fn open(path: &Path, columns: &Columns) -> Result<ParquetReader, ReadError> {
        let origin = Origin::file(path);
        let fail = |reason: String| ReadError::new(origin.clone(), reason);
        let file = File::open(path).map_err(|error| fail(format!("can't be read: {error}")))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let (batches, selection, rows) = guard(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)
                .map_err(|error| format!("is not a Parquet file that can be read: {error}"))?;
            let selection = Selection::find(columns, builder.schema())?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), selection.indices());
            let rows = builder.metadata().file_metadata().num_rows();
            let batches = builder
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(|error| format!("can't be read: {error}"))?;
            Ok((batches, selection, u64::try_from(rows).unwrap_or(0)))
        })
        .map_err(fail)?;
        Ok(ParquetReader {
            batches: Some(batches),
            selection,
            ready: VecDeque::new(),
            origin,
            row: 0,
            rows,
            bytes,
        })
    }

    /// Decodes the next batch into `ready`; `None` after the end of the file.
    fn decode(&mut self) -> Option<()> {
        let batches = self.batches.as_mut()?;
        let decoded = guard(|| match batches.next() {
            None => Ok(None),
            Some(Err(error)) => Err(format!("can't be read on from here: {error}")),
            Some(Ok(batch)) => {
                let columns = BatchColumns::new(&self.selection, &batch)?;
                Ok(Some((0..batch.num_rows()).map(|row| columns.document(row)).collect::<Vec<_>>()))
            }
        });
        match decoded {
            Ok(None) => {
                self.batches = None;
                // some damage only looks like an early end
                if self.row < self.rows {
                    let reason = format!("ends here, and says that it has {} rows", self.rows);
                    self.ready.push_back(Err(ReadError::new(self.origin.at(self.row + 1), reason)));
                }
            }
            Ok(Some(documents)) => {
                for document in documents {
                    self.row += 1;
                    let origin = self.origin.at(self.row);
                    let share = self.row as f64 / self.rows.max(self.row) as f64;
                    self.ready.push_back(match document {
                        Ok(mut document) => {
                            document.id.get_or_insert_with(|| origin.made_up_id());
                            Ok(Row { document, origin, bytes_read: (self.bytes as f64 * share) as u64 })
                        }
                        Err(reason) => Err(ReadError::new(origin, reason)),
                    });
                }
            }
            Err(reason) => {
                self.batches = None;
                self.ready.push_back(Err(ReadError::new(self.origin.at(self.row + 1), reason)));
            }
        }
        Some(())
    }
}

impl Iterator for ParquetReader {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            self.decode()?;
        }
        self.ready.pop_front()
    }
}

/// Runs a piece of decoding; its panic is a reason like any other.
fn guard<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // AssertUnwindSafe: after an error the reader is dropped, nothing looks at its state again
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("is damaged: the decoder broke off".into()))
}

#[cfg(test)]
mod tests;
