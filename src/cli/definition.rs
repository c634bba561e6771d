//! Reads a collection definition from a file, in TOML or JSON.

use std::path::Path;

use anyhow::{Context, Result};

use crate::collection::definition::Definition;

/// The definition in the file, validated.
pub fn read(path: &Path) -> Result<Definition> {
    let in_file = || format!("the definition {}", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", in_file()))?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let definition: Definition = serde_json::from_str(&text).with_context(in_file)?;
        definition.validate().with_context(in_file)?;
        return Ok(definition);
    }
    Definition::from_toml(&text).with_context(in_file)
}
