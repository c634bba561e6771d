//! A text file as one document: id and uri are its name, the title is its first heading.

use pulldown_cmark::{Event, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{Origin, ReadError, Row, Source};
use crate::document::Document;

/// The document in the file; `None` where it holds nothing but white space.
pub fn read(source: &Source) -> Result<Option<Row>, ReadError> {
    let origin = Origin::file(&source.path);
    let bytes = std::fs::read(&source.path)
        .map_err(|error| ReadError::new(origin.clone(), format!("can't be read: {error}")))?;
    let bytes_read = bytes.len() as u64;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ReadError::new(origin.clone(), format!("is not UTF-8 text (byte {at}): convert it, or leave it out"))
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let extension = source.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let title = match extension.to_ascii_lowercase().as_str() {
        "md" | "markdown" | "mdx" | "rst" => heading(&text),
        _ => None,
    };
    let stem = || source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let document = Document {
        id: Some(source.name.clone()),
        title: title.or_else(stem),
        uri: Some(source.name.clone()),
        text,
        ..Document::default()
    };
    Ok(Some(Row { document, origin, bytes_read }))
}

/// The title in the front matter, else the text of the first heading (Markdown's `#` and underlined
/// forms; the latter are reStructuredText's too).
pub fn heading(text: &str) -> Option<String> {
    let mut events = Parser::new_ext(text, Options::ENABLE_YAML_STYLE_METADATA_BLOCKS);
    while let Some(event) = events.next() {
        match event {
            Event::Start(Tag::MetadataBlock(MetadataBlockKind::YamlStyle)) => {
                let block = collect_text(&mut events, |end| matches!(end, TagEnd::MetadataBlock(_)));
                if let Some(title) = front_matter_title(&block) {
                    return Some(title);
                }
            }
            Event::Start(Tag::Heading { .. }) => {
                let title = collect_text(&mut events, |end| matches!(end, TagEnd::Heading(_)));
                if !title.trim().is_empty() {
                    return Some(title.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    None
}

fn collect_text<'a>(events: &mut impl Iterator<Item = Event<'a>>, is_end: impl Fn(TagEnd) -> bool) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::End(end) if is_end(end) => break,
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            _ => {}
        }
    }
    text
}

fn front_matter_title(block: &str) -> Option<String> {
    let value = block.lines().find_map(|line| line.strip_prefix("title:"))?.trim();
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let title = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    // `>` and `|` begin YAML's block texts: the title is on the lines below
    (!title.is_empty() && !title.starts_with(['>', '|'])).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Format;
    use super::*;

    fn row(name: &str, bytes: &[u8]) -> Result<Option<Row>, ReadError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        read(&Source { path, name: format!("docs/{name}"), format: Format::Text, bytes: bytes.len() as u64 })
    }

    #[test]
    fn a_file_becomes_a_document_named_by_its_path() {
        let row = row("guide.md", b"\xef\xbb\xbfintro\n\n# The `Guide`\n").unwrap().unwrap();
        assert_eq!(row.document.id.as_deref(), Some("docs/guide.md"));
        assert_eq!(row.document.uri.as_deref(), Some("docs/guide.md"));
        assert_eq!(row.document.title.as_deref(), Some("The Guide"));
        assert_eq!(row.document.text, "intro\n\n# The `Guide`\n");
    }

    #[test]
    fn titles_come_from_front_matter_headings_or_the_file_name() {
        for (text, title) in [
            ("---\nlayout: x\ntitle: \"About it\"\n---\n## Usage\n", Some("About it")),
            ("---\nlayout: x\n---\n## Usage\n", Some("Usage")),
            ("```sh\n# a comment\n```\nTitle\n=====\n", Some("Title")),
            ("no heading", None),
        ] {
            assert_eq!(heading(text).as_deref(), title, "{text}");
        }
        // a `#` in plain text is no heading
        assert_eq!(row("plan.txt", b"# no").unwrap().unwrap().document.title.as_deref(), Some("plan"));
    }

    #[test]
    fn empty_files_are_passed_over_and_others_than_utf8_refused() {
        assert_eq!(row("empty.md", b" \n").unwrap(), None);
        let error = row("latin.txt", b"caf\xe9").unwrap_err();
        assert!(error.to_string().contains("latin.txt: is not UTF-8 text (byte 3)"), "{error}");
    }
}
