//! Finds the files to import. A folder is walked in sorted order; what lies in it is named by its path
//! relative to the folder, so that ids are the same on every machine.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Origin, ReadError};

/// A file to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the folder that was given, with `/`; the file name where the file was given.
    pub name: String,
    /// How it is read.
    pub format: Format,
    /// Its length in bytes.
    pub bytes: u64,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The whole file is one document.
    Text,
    /// A document a line.
    Jsonl,
    /// A document a row.
    Parquet,
}

impl Format {
    /// By the extension; `None`: not one that is looked for in folders.
    fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "md" | "markdown" | "mdx" | "txt" | "text" | "rst" | "adoc" | "org" | "html" | "htm" => {
                Some(Format::Text)
            }
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files to import, in order.
    pub sources: Vec<Source>,
    /// Files of folders that are left out because of their extension.
    pub skipped: Vec<PathBuf>,
}

/// Finds the files under `paths`. A file that is given is read whatever its name (as text, where the
/// extension says nothing); in a folder only known extensions are, and hidden entries are passed over.
///
/// # Errors
/// A path that can't be read, and two files that would become the same document.
pub fn walk(paths: &[PathBuf]) -> Result<Walk, ReadError> {
    let mut found = Walk::default();
    for path in paths {
        let metadata = fs::metadata(path).map_err(unreadable(path))?;
        if metadata.is_dir() {
            walk_folder(path, "", &mut found)?;
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let format = Format::of(path).unwrap_or(Format::Text);
            found.sources.push(Source { path: path.clone(), name, format, bytes: metadata.len() });
        }
    }
    refuse_equal_names(&found.sources)?;
    Ok(found)
}

/// Adds what is in `folder`; `prefix` is its path relative to the folder that was given, with a `/` behind.
fn walk_folder(folder: &Path, prefix: &str, found: &mut Walk) -> Result<(), ReadError> {
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(unreadable(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let file_name = entry.file_name();
        let name = file_name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // links to files are followed, links to folders are not: they can go round in circles
        if entry.file_type().map_err(unreadable(&path))?.is_dir() {
            walk_folder(&path, &format!("{prefix}{name}/"), found)?;
            continue;
        }
        match (fs::metadata(&path), Format::of(&path)) {
            (Ok(metadata), Some(format)) if metadata.is_file() => {
                let name = format!("{prefix}{name}");
                found.sources.push(Source { path, name, format, bytes: metadata.len() });
            }
            _ => found.skipped.push(path),
        }
    }
    Ok(())
}

/// The later of two documents of one id would silently replace the earlier.
fn refuse_equal_names(sources: &[Source]) -> Result<(), ReadError> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for source in sources.iter().filter(|source| source.format == Format::Text) {
        if let Some(other) = seen.insert(&source.name, &source.path) {
            let reason = format!(
                "would get the same id `{}` as {}: import a folder above both, or one after the other",
                source.name,
                other.display()
            );
            return Err(ReadError::new(Origin::file(&source.path), reason));
        }
    }
    Ok(())
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> ReadError + use<'_> {
    move |error| ReadError::new(Origin::file(path), format!("can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_gives_sorted_relative_names() {
        let folder =
            tree(&["b.md", "a/z.TXT", "a/deep/y.mdx", "image.png", ".git/x.md", "d.ndjson", "e.parquet"]);
        let found = walk(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> =
            found.sources.iter().map(|source| (source.name.as_str(), source.format)).collect();
        let expected = [
            ("a/deep/y.mdx", Format::Text),
            ("a/z.TXT", Format::Text),
            ("b.md", Format::Text),
            ("d.ndjson", Format::Jsonl),
            ("e.parquet", Format::Parquet),
        ];
        assert_eq!(names, expected);
        assert_eq!(found.skipped, [folder.path().join("image.png")]);
    }

    #[test]
    fn a_given_file_is_read_whatever_its_name() {
        let folder = tree(&["a/NOTES"]);
        let found = walk(&[folder.path().join("a/NOTES")]).unwrap();
        assert_eq!(found.sources[0].name, "NOTES");
        assert_eq!(found.sources[0].format, Format::Text);
    }

    #[test]
    fn equal_ids_and_missing_paths_are_refused_by_name() {
        let folder = tree(&["a/x.md", "b/x.md"]);
        let error = walk(&[folder.path().join("a"), folder.path().join("b")]).unwrap_err().to_string();
        assert!(error.contains("a/x.md") && error.contains("b/x.md"), "{error}");
        let error = walk(&[folder.path().join("c")]).unwrap_err().to_string();
        assert!(error.contains("/c: can't be read"), "{error}");
    }
}
