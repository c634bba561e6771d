//! What an import did.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Failures that are listed; all are counted.
const LISTED: usize = 10;

/// What an import did. `Serialize` is the object of `--json`, `Display` the lines for people.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Name of the collection.
    pub collection: String,
    /// Documents that are searchable now.
    pub documents: u64,
    /// Documents (and files, lines and rows that are none) that are not.
    pub failed: u64,
    /// The first failures.
    pub errors: Vec<Failure>,
    /// Bytes of titles and texts read.
    pub text_bytes: u64,
    /// From the first read until everything was searchable.
    pub searchable_seconds: f64,
    /// From the first read until every graph was built; only where that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_seconds: Option<f64>,
    /// Documents a second until searchable.
    pub documents_per_s: f64,
    /// Megabytes (10^6 bytes) of titles and texts a second until searchable.
    pub mb_per_s: f64,
}

/// Something that could not be imported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// File and line or row.
    pub source: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// An import into `collection` that has done nothing yet.
    pub fn new(collection: &str) -> Report {
        Report { collection: collection.to_owned(), ..Report::default() }
    }

    /// Counts a failure.
    pub fn fail(&mut self, source: impl fmt::Display, reason: impl Into<String>) {
        self.failed += 1;
        self.list(source, reason);
    }

    /// Lists a failure that is counted elsewhere.
    pub fn list(&mut self, source: impl fmt::Display, reason: impl Into<String>) {
        if self.errors.len() < LISTED {
            self.errors.push(Failure { source: source.to_string(), reason: reason.into() });
        }
    }

    /// Everything is searchable `elapsed` after the start.
    pub fn searchable(&mut self, elapsed: Duration) {
        self.searchable_seconds = elapsed.as_secs_f64();
        self.documents_per_s = self.documents as f64 / self.searchable_seconds;
        self.mb_per_s = self.text_bytes as f64 / 1e6 / self.searchable_seconds;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { source, reason } in &self.errors {
            writeln!(f, "failed: {source}: {reason}")?;
        }
        if self.failed > self.errors.len() as u64 {
            writeln!(f, "… and {} more", self.failed - self.errors.len() as u64)?;
        }
        write!(
            f,
            "{}: {} documents searchable in {:.1} s ({:.2} MB/s, {:.0} documents/s), {} failed",
            self.collection,
            self.documents,
            self.searchable_seconds,
            self.mb_per_s,
            self.documents_per_s,
            self.failed
        )?;
        self.graph_seconds.map_or(Ok(()), |seconds| write!(f, "\ngraphs complete after {seconds:.1} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_failures_are_listed_and_all_are_counted() {
        let mut report = Report::new("c");
        for row in 0..12 {
            report.fail(format!("f:{row}"), "bad");
        }
        report.documents = 30;
        report.text_bytes = 6_000_000;
        report.searchable(Duration::from_secs(3));
        let text = report.to_string();
        assert_eq!(text.lines().filter(|line| line.starts_with("failed: f:")).count(), LISTED);
        assert!(text.contains("… and 2 more"), "{text}");
        assert!(text.ends_with("c: 30 documents searchable in 3.0 s (2.00 MB/s, 10 documents/s), 12 failed"));
    }
}
