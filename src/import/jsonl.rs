//! JSON Lines: a document a line, as REST has them; `_id` (BEIR) is taken for `id`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::{Origin, ReadError, Row};
use crate::document::{Document, Metadata};

/// The longest line that is read: as the server's default body limit.
const MAX_LINE: u64 = 64 << 20;

/// The documents of one file.
pub struct JsonlReader {
    lines: Option<BufReader<File>>,
    origin: Origin,
    line: u64,
    bytes_read: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "_id")]
    id: Option<String>,
    text: String,
    title: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    vector: Option<Vec<f32>>,
}

impl JsonlReader {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<JsonlReader, ReadError> {
        let origin = Origin::file(path);
        let file = File::open(path)
            .map_err(|error| ReadError::new(origin.clone(), format!("can't be read: {error}")))?;
        Ok(JsonlReader {
            lines: Some(BufReader::with_capacity(1 << 18, file)),
            origin,
            line: 0,
            bytes_read: 0,
        })
    }

    /// The next line that holds something; an error that ends the file takes the file away.
    fn next_line(&mut self) -> Option<Result<Vec<u8>, ReadError>> {
        loop {
            let lines = self.lines.as_mut()?;
            self.line += 1;
            let mut line = Vec::new();
            let reason = match lines.take(MAX_LINE + 1).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(length) if length as u64 > MAX_LINE => {
                    format!("the line is longer than {} MiB", MAX_LINE >> 20)
                }
                Ok(length) => {
                    self.bytes_read += length as u64;
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    return Some(Ok(line));
                }
                Err(error) => format!("can't be read: {error}"),
            };
            self.lines = None;
            return Some(Err(ReadError::new(self.origin.at(self.line), reason)));
        }
    }
}

impl Iterator for JsonlReader {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.next_line()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let origin = self.origin.at(self.line);
        Some(match serde_json::from_slice::<Line>(&line) {
            Ok(Line { id, text, title, uri, metadata, vector }) => {
                let id = Some(id.unwrap_or_else(|| origin.made_up_id()));
                let document = Document { id, text, title, uri, metadata, vector };
                Ok(Row { document, origin, bytes_read: self.bytes_read })
            }
            Err(error) => Err(ReadError::new(origin, describe(&error))),
        })
    }
}

/// serde_json counts lines inside the line: only the column means something here.
fn describe(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message);
    format!("is not a document: {what} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Vec<Result<Row, ReadError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docs.jsonl");
        fs::write(&path, text).unwrap();
        JsonlReader::open(&path).unwrap().collect()
    }

    #[test]
    fn lines_are_documents_and_ids_are_made_where_there_are_none() {
        let text = "{\"id\":\"a\",\"text\":\"t\",\"metadata\":{\"n\":[1,2]},\"vector\":[0.5]}\r\n\n{\"_id\":\"b\",\"title\":\"T\",\"text\":\"u\"}\n{\"text\":\"v\"}";
        let rows: Vec<_> = read(text).into_iter().map(Result::unwrap).collect();
        let ids: Vec<_> = rows.iter().map(|row| row.document.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "docs.jsonl#4"]);
        assert_eq!(rows[0].document.vector.as_deref(), Some(&[0.5][..]));
        assert_eq!(rows[0].document.metadata["n"], serde_json::json!([1, 2]));
        assert_eq!(rows[2].bytes_read, text.len() as u64);
    }

    #[test]
    fn a_bad_line_is_named_and_the_next_is_read() {
        let rows = read(
            "{\"text\":1}\n{\"text\":\"t\",\"colour\":1}\nnonsense\n{\"text\":\"\\ud800\"}\n{\"text\":\"good\"}\n",
        );
        let errors: Vec<_> =
            rows.iter().filter_map(|row| row.as_ref().err().map(ToString::to_string)).collect();
        assert_eq!(errors.len(), 4);
        assert!(
            errors[0].contains("docs.jsonl:1: ") && errors[0].contains("expected a string"),
            "{}",
            errors[0]
        );
        assert!(errors[1].contains("docs.jsonl:2: ") && errors[1].contains("`colour`"), "{}", errors[1]);
        assert!(errors[2].contains("docs.jsonl:3: "), "{}", errors[2]);
        assert!(errors[3].contains("docs.jsonl:4: "), "{}", errors[3]);
        assert_eq!(rows[4].as_ref().unwrap().document.text, "good");
    }
}
