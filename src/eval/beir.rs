//! A retrieval set in the layout of BEIR: `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` (or
//! `qrels/test.tsv`) in one folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::metrics::Judgments;
use crate::document::{Document, Metadata};
use crate::error::{Error, Result};

/// A retrieval set.
pub struct BeirSet {
    /// Name of its folder.
    pub name: String,
    /// Its documents, in the order of the file.
    pub documents: Vec<Document>,
    /// The queries with at least one relevant document, in the order of the file.
    pub queries: Vec<JudgedQuery>,
    /// Documents that were left out: they hold neither text nor title.
    pub empty_documents: usize,
}

/// A query and what is relevant for it.
pub struct JudgedQuery {
    /// The question.
    pub text: String,
    /// Grades by document id.
    pub judgments: Judgments,
}

#[derive(Deserialize)]
struct CorpusLine {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

impl BeirSet {
    /// Reads the folder; an error names file and line.
    pub fn read(folder: &Path) -> Result<BeirSet> {
        let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = path.file_name().map_or_else(|| "set".into(), |name| name.to_string_lossy().into_owned());

        let mut empty_documents = 0;
        let mut documents = Vec::new();
        for line in read_lines::<CorpusLine>(&folder.join("corpus.jsonl"))? {
            match line.into_document() {
                Some(document) => documents.push(document),
                None => empty_documents += 1,
            }
        }

        let mut judgments = read_qrels(folder)?;
        judgments.retain(|_, grades| grades.values().any(|&grade| grade > 0));
        let queries: Vec<_> = read_lines::<QueryLine>(&folder.join("queries.jsonl"))?
            .into_iter()
            .filter_map(|line| {
                judgments.remove(&line.id).map(|judgments| JudgedQuery { text: line.text, judgments })
            })
            .collect();
        if queries.is_empty() {
            let message =
                "no query of queries.jsonl has a relevant document in the qrels: the ids must match";
            return Err(Error::invalid(folder.display().to_string(), message));
        }
        // a lost query would change the means and nobody would notice
        if let Some(id) = judgments.keys().min() {
            let message =
                format!("{} judged queries, such as `{id}`, are not in queries.jsonl", judgments.len());
            return Err(Error::invalid(folder.display().to_string(), message));
        }
        Ok(BeirSet { name, documents, queries, empty_documents })
    }
}

impl CorpusLine {
    /// Some sets have documents of a title only: the title is their text then.
    fn into_document(self) -> Option<Document> {
        let CorpusLine { id, title, text, metadata } = self;
        let title = (!title.trim().is_empty()).then_some(title);
        let (text, title) = if text.trim().is_empty() { (title?, None) } else { (text, title) };
        Some(Document { id: Some(id), text, title, metadata, ..Document::default() })
    }
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut values = Vec::new();
    for (line, number) in open(path)?.lines().zip(1..) {
        let at = || format!("{}:{number}", path.display());
        let line = line.map_err(|error| Error::invalid(at(), format!("can't be read: {error}")))?;
        if !line.trim().is_empty() {
            let value = serde_json::from_str(&line)
                .map_err(|error| Error::invalid(at(), format!("not a BEIR line: {error}")))?;
            values.push(value);
        }
    }
    Ok(values)
}

/// Query id → judgments. A first line whose grade is not a number is a header.
fn read_qrels(folder: &Path) -> Result<HashMap<String, Judgments>> {
    let path = qrels_path(folder);
    let mut queries: HashMap<String, Judgments> = HashMap::new();
    for (line, number) in open(&path)?.lines().zip(1..) {
        let at = || format!("{}:{number}", path.display());
        let line = line.map_err(|error| Error::invalid(at(), format!("can't be read: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut columns = line.split('\t').map(str::trim);
        let (Some(query), Some(document), Some(grade)) = (columns.next(), columns.next(), columns.next())
        else {
            return Err(Error::invalid(at(), "expected three columns: query id, document id, grade"));
        };
        match grade.parse() {
            Ok(grade) => {
                queries.entry(query.into()).or_default().insert(document.into(), grade);
            }
            Err(_) if number == 1 => {}
            Err(_) => return Err(Error::invalid(at(), format!("the grade `{grade}` is not a whole number"))),
        }
    }
    Ok(queries)
}

fn qrels_path(folder: &Path) -> PathBuf {
    let test = folder.join("qrels").join("test.tsv");
    if test.is_file() { test } else { folder.join("qrels.tsv") }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| {
        let message =
            format!("can't be read: {error}; a BEIR folder has corpus.jsonl, queries.jsonl and qrels.tsv");
        Error::invalid(path.display().to_string(), message)
    })?;
    Ok(BufReader::with_capacity(1 << 18, file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(corpus: &str, queries: &str, qrels: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
        fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
        fs::write(folder.path().join("qrels.tsv"), qrels).unwrap();
        folder
    }

    const CORPUS: &str = r#"{"_id":"d1","title":"T","text":"one","metadata":{"lang":"en"}}
{"_id":"d2","title":"only a title","text":" "}
{"_id":"d3","title":"","text":""}

{"_id":"d4","text":"four"}
"#;
    const QUERIES: &str =
        "{\"_id\":\"q1\",\"text\":\"a\"}\n{\"_id\":\"q2\",\"text\":\"b\"}\n{\"_id\":\"q3\",\"text\":\"c\"}\n";

    #[test]
    fn reads_documents_and_judged_queries() {
        let folder = folder(CORPUS, QUERIES, "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t0\n");
        let set = BeirSet::read(folder.path()).unwrap();
        let texts: Vec<_> = set.documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(texts, ["one", "only a title", "four"]);
        assert_eq!(set.documents[0].metadata["lang"], "en");
        assert_eq!(set.documents[1].title, None);
        assert_eq!(set.empty_documents, 1);
        // q2 has no relevant document, q3 no judgment
        assert_eq!(set.queries.len(), 1);
        assert_eq!(set.queries[0].judgments, [("d1".into(), 2), ("d2".into(), 0)].into());
    }

    #[test]
    fn takes_qrels_without_a_header_and_in_a_folder_of_splits() {
        let folder = folder(CORPUS, QUERIES, "");
        fs::create_dir(folder.path().join("qrels")).unwrap();
        fs::write(folder.path().join("qrels/test.tsv"), "q3\td4\t1\n").unwrap();
        assert_eq!(BeirSet::read(folder.path()).unwrap().queries[0].text, "c");
    }

    #[test]
    fn errors_name_file_and_line() {
        for (corpus, queries, qrels, expected) in [
            ("{\"_id\":\"a\",\"text\":\"t\"}\n{\"_id\":3}\n", QUERIES, "q1\ta\t1\n", "corpus.jsonl:2"),
            (CORPUS, "nonsense\n", "q1\td1\t1\n", "queries.jsonl:1"),
            (CORPUS, QUERIES, "h\th\th\nq1\td1\n", "qrels.tsv:2"),
            (CORPUS, QUERIES, "q1\td1\t1\nq1\td1\tgood\n", "qrels.tsv:2"),
            (CORPUS, QUERIES, "q1\td1\t1\nlost\td1\t1\n", "`lost`"),
        ] {
            let folder = folder(corpus, queries, qrels);
            let error = BeirSet::read(folder.path()).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = BeirSet::read(Path::new("/nonexistent")).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/corpus.jsonl"), "{error}");
    }
}
