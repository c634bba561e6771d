//! What a model's folder says of it: `gleaner.toml`, which `gleaner models add` writes.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

/// Bytes of each of a file's samples.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// File name of the manifest.
pub const FILE: &str = "gleaner.toml";

/// A local model as its folder describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Names it, and for an embedder its vector space.
    pub id: String,
    /// What it does.
    pub kind: ModelKind,
    /// SPDX name of its licence.
    pub licence: String,
    /// Length of an embedder's vectors.
    #[serde(default)]
    pub dimensions: usize,
    /// The most tokens it reads, special tokens included.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// How an embedder's outputs become one vector.
    #[serde(default)]
    pub pooling: Pooling,
    /// Put before each query by an embedder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query_prefix: String,
    /// Put before each document by an embedder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub document_prefix: String,
    /// Default weight of the dense leg with an embedder; of the cross-encoder's score with a reranker.
    #[serde(default = "weight")]
    pub weight: f32,
    /// Default similarity that counts as zero, with an embedder.
    #[serde(default)]
    pub floor: f32,
    /// Whether it was made for English alone.
    #[serde(default)]
    pub english: bool,
}

/// What a local model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Texts in, vectors out.
    Embedder,
    /// A question and a text in, a score out.
    Reranker,
}

/// How a network's rows, one a token, become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The first, which stands for the whole text.
    Cls,
}

fn max_tokens() -> usize {
    512
}

fn weight() -> f32 {
    0.5
}

/// Models that need no description: the start of the SHA-256 of the network, and what is to be known.
const KNOWN: &[(&str, &str)] = &[
    (
        "68807e3ff2abb83cdd708d8243fd3982",
        r#"
        id = "bge-small-en-v1.5-int8"
        kind = "embedder"
        licence = "MIT"
        dimensions = 384
        pooling = "cls"
        query_prefix = "Represent this sentence for searching relevant passages: "
        weight = 0.55
        floor = 0.4
        english = true
        "#,
    ),
    (
        "afdb6f1a0e45b715d0bb9b11772f032c",
        r#"
        id = "all-minilm-l6-v2-int8"
        kind = "embedder"
        licence = "Apache-2.0"
        dimensions = 384
        max_tokens = 256
        weight = 0.45
        english = true
        "#,
    ),
    (
        "1225ccd6afd0f1b43a1b08bf67cd1cb6",
        r#"
        id = "ms-marco-minilm-l-12-v2-int8"
        kind = "reranker"
        licence = "Apache-2.0"
        weight = 0.05
        english = true
        "#,
    ),
];

impl Manifest {
    /// What the folder says; where it has no manifest, what is known of its network. The error says what is wrong.
    pub fn read(folder: &Path) -> Result<Manifest, String> {
        let path = folder.join(FILE);
        let manifest = match std::fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| format!("{} is wrong: {error}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Manifest::known(folder)?,
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        };
        manifest.check().map_err(|what| format!("{} is wrong: {what}", path.display()))?;
        Ok(manifest)
    }

    /// What is known of the folder's network.
    pub fn known(folder: &Path) -> Result<Manifest, String> {
        let hash = hash_of(&network(folder)?)?;
        let Some((_, text)) = KNOWN.iter().find(|(known, _)| hash.starts_with(known)) else {
            let message = format!(
                "{} has no {FILE}, and its network (sha256 {}…) is not one that gleaner knows: describe it there \
                 with id, kind, licence, dimensions, pooling and max_tokens",
                folder.display(),
                &hash[..16]
            );
            return Err(message);
        };
        toml::from_str(text).map_err(|error| format!("the table of known models is wrong: {error}"))
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.id.is_empty() || self.licence.is_empty() {
            return Err("id and licence must not be empty");
        }
        if !(8..=8192).contains(&self.max_tokens) {
            return Err("max_tokens must be 8 to 8192");
        }
        if self.kind == ModelKind::Embedder && !(1..=8192).contains(&self.dimensions) {
            return Err("an embedder's dimensions must be given, 1 to 8192");
        }
        if !(0.0..=1.0).contains(&self.weight) || !(0.0..0.99).contains(&self.floor) {
            return Err("weight must be 0 to 1, and floor 0 to 0.99");
        }
        Ok(())
    }
}

/// The network's file.
pub fn network(folder: &Path) -> Result<PathBuf, String> {
    let names = ["model.onnx", "model_quantized.onnx"];
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{} holds neither {} nor {}", folder.display(), names[0], names[1]))
}

/// Tells models of one name apart: by what the manifest says of the vectors, and by samples of the files, for a start
/// does not wait until a network is read.
pub(crate) fn fingerprint(folder: &Path, manifest: &Manifest) -> Result<u64, String> {
    let mut hash = Xxh3::new();
    let Manifest { pooling, query_prefix, document_prefix, max_tokens, .. } = manifest;
    hash.update(format!("{pooling:?}\0{query_prefix}\0{document_prefix}\0{max_tokens}").as_bytes());
    for path in [network(folder)?, folder.join("tokenizer.json")] {
        let fail = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
        let mut file = std::fs::File::open(&path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        hash.update(&len.to_le_bytes());
        for start in [0, len / 2, len.saturating_sub(SAMPLE_BYTES)] {
            file.seek(SeekFrom::Start(start)).map_err(fail)?;
            let mut sample = Vec::new();
            (&mut file).take(SAMPLE_BYTES).read_to_end(&mut sample).map_err(fail)?;
            hash.update(&sample);
        }
    }
    Ok(hash.digest())
}

/// SHA-256 of a file, in hexadecimal.
pub fn hash_of(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(fail)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_models_are_described_rightly() {
        for (hash, text) in KNOWN {
            assert!(hash.len() >= 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let manifest: Manifest = toml::from_str(text).unwrap();
            manifest.check().unwrap();
            let written = toml::to_string(&manifest).unwrap();
            assert_eq!(toml::from_str::<Manifest>(&written).unwrap(), manifest);
        }
    }

    #[test]
    fn a_folder_that_is_no_model_says_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Manifest::read(dir.path()).unwrap_err().contains("model.onnx"));
        std::fs::write(dir.path().join("model.onnx"), "no network").unwrap();
        let error = Manifest::read(dir.path()).unwrap_err();
        assert!(error.contains("licence") && error.contains("sha256"), "{error}");
        std::fs::write(dir.path().join(FILE), "id = 'x'\nkind = 'embedder'\nlicence = 'MIT'\nmax_tokens = 1")
            .unwrap();
        assert!(Manifest::read(dir.path()).unwrap_err().contains("max_tokens must be"));
        std::fs::write(dir.path().join(FILE), "id = 'x'\nkind = 'embedder'\nlicence = 'MIT'\ndimensions = 4")
            .unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap().max_tokens, 512);
    }
}
