//! Static models: a text's vector is the mean of its tokens' rows in a table.
//!
//! A folder with one `.safetensors` file, whose tensor `embedding.weight` or `embeddings` has a row of f16 or
//! f32 for each token, and the `tokenizer.json` that numbers them (WordLlama, model2vec).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use xxhash_rust::xxh3::Xxh3;

use super::tokenizer;
use super::{EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::{HfTokenizer, Tokenizer};
use crate::runtime::Pools;

/// As long as a chunk can be; further tokens would only blur the mean.
const MAX_TOKENS: usize = 8192;
/// Beyond this a text is cut before it is tokenized.
const MAX_BYTES: usize = 256 * 1024;
/// Text embedded in one job of the build pool: some 50 ms.
const SLICE_BYTES: usize = 128 * 1024;

/// A static model. Its header is read at open, its rows at the first use.
pub(super) struct StaticModel {
    model: Model,
    pools: Pools,
    table: Arc<Table>,
}

/// What the jobs on the pools share.
struct Table {
    file: Location,
    tokenizer: OnceLock<Result<Arc<HfTokenizer>, EmbedError>>,
    rows: OnceLock<Result<Rows, EmbedError>>,
}

/// Where the rows lie.
#[derive(Clone, Debug)]
struct Location {
    path: PathBuf,
    tokenizer: PathBuf,
    dtype: Dtype,
    offset: u64,
    rows: usize,
    dimensions: usize,
}

/// One row for each token.
enum Rows {
    F16(Vec<u16>),
    F32(Vec<f32>),
}

impl StaticModel {
    /// The model in `folder`. Reads the header and the first rows.
    pub fn open(folder: &Path, pools: Pools) -> Result<Self, EmbedError> {
        let (file, id) = Location::find(folder)?;
        let dimensions = file.dimensions;
        let model = Model {
            id,
            origin: String::new(),
            dimensions,
            max_tokens: MAX_TOKENS,
            dense_weight: 0.3,
            dense_floor: 0.0,
            english: true,
        };
        let table = Arc::new(Table { file, tokenizer: OnceLock::new(), rows: OnceLock::new() });
        Ok(Self { model, pools, table })
    }
}

impl Table {
    fn json_tokenizer(&self) -> Result<&Arc<HfTokenizer>, EmbedError> {
        let load = || {
            let path = &self.file.tokenizer;
            let json = std::fs::read(path).map_err(|error| config(path, error))?;
            tokenizer::load(&json, &path.display().to_string())
        };
        self.tokenizer.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// Tokenizer and rows; loads them the first time.
    fn loaded(&self) -> Result<(&Arc<HfTokenizer>, &Rows), EmbedError> {
        let tokenizer = self.json_tokenizer()?;
        let tokens = tokenizer.vocabulary();
        if tokens > self.file.rows {
            let message = format!("has {} rows, but its tokenizer {tokens} tokens", self.file.rows);
            return Err(config(&self.file.path, message));
        }
        let rows = self.rows.get_or_init(|| self.file.read());
        Ok((tokenizer, rows.as_ref().map_err(Clone::clone)?))
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<f32>, EmbedError> {
        let (tokenizer, rows) = self.loaded()?;
        let dimensions = self.file.dimensions;
        let mut values = vec![0.0; texts.len() * dimensions];
        let mut row = vec![0.0; dimensions];
        for (text, mean) in texts.iter().zip(values.chunks_exact_mut(dimensions)) {
            for &id in tokenizer::ids(tokenizer, super::cut(text, MAX_BYTES))?.iter().take(MAX_TOKENS) {
                rows.add(id as usize, &mut row, mean);
            }
            if !super::normalize(mean) {
                // Nothing known in it: the direction in which all axes weigh the same. Any choice will do that
                // is finite, always the same, and not the vector of some word.
                mean.fill((dimensions as f32).sqrt().recip());
            }
        }
        Ok(values)
    }
}

impl Rows {
    /// Adds row `id` to `sum`; `row` is scratch space of one row.
    fn add(&self, id: usize, row: &mut [f32], sum: &mut [f32]) {
        let range = id * sum.len()..(id + 1) * sum.len();
        let values: &[f32] = match self {
            Rows::F16(bits) => {
                bits[range].reinterpret_cast::<f16>().convert_to_f32_slice(row);
                row
            }
            Rows::F32(values) => &values[range],
        };
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
}

impl Location {
    /// Finds the model of `folder` and names its vector space by what the files hold.
    fn find(folder: &Path) -> Result<(Self, String), EmbedError> {
        let entries = std::fs::read_dir(folder).map_err(|error| config(folder, error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        let (Some(path), true) = (files.pop(), files.is_empty()) else {
            return Err(config(folder, "must hold exactly one .safetensors file"));
        };
        let tokenizer = folder.join("tokenizer.json");
        let mut hash = Xxh3::new();
        hash.update(&std::fs::read(&tokenizer).map_err(|error| config(&tokenizer, error))?);

        let io = |error| config(&path, error);
        let mut file = File::open(&path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(io)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > 1 << 20 {
            return Err(config(&path, "is not a safetensors file with one table"));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| config(&path, format!("has a damaged header: {error}")))?;
        let info = ["embedding.weight", "embeddings"].iter().find_map(|name| metadata.info(name));
        let info = info.ok_or_else(|| config(&path, "has no tensor embedding.weight or embeddings"))?;
        let (&[rows, dimensions], Dtype::F16 | Dtype::F32) = (info.shape.as_slice(), info.dtype) else {
            let message =
                format!("must be a table of F16 or F32, but is {:?} of {:?}", info.shape, info.dtype);
            return Err(config(&path, message));
        };
        let value_bytes = if info.dtype == Dtype::F16 { 2 } else { 4 };
        let offset = 8 + header_bytes + info.data_offsets.0 as u64;
        let bytes = rows.checked_mul(dimensions).and_then(|values| values.checked_mul(value_bytes));
        let in_file = bytes.is_some_and(|bytes| {
            info.data_offsets.0.checked_add(bytes) == Some(info.data_offsets.1)
                && offset.checked_add(bytes as u64).is_some_and(|end| end <= file_bytes)
        });
        if !in_file || rows == 0 || !(1..=8192).contains(&dimensions) {
            return Err(config(
                &path,
                format!("does not hold the {rows} × {dimensions} values it speaks of"),
            ));
        }

        // the header, the length and the first rows tell models apart without reading all of them
        hash.update(&header);
        hash.update(&file_bytes.to_le_bytes());
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut sample = Vec::new();
        file.take(256 * 1024).read_to_end(&mut sample).map_err(io)?;
        hash.update(&sample);
        let id = format!("static-{dimensions}-{:016x}", hash.digest());
        Ok((Self { tokenizer, dtype: info.dtype, offset, rows, dimensions, path }, id))
    }

    /// Reads the rows. They are little-endian in the file; every value is checked to be finite.
    fn read(&self) -> Result<Rows, EmbedError> {
        let io = |error| config(&self.path, error);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let count = self.rows * self.dimensions;
        let (rows, finite) = if self.dtype == Dtype::F16 {
            let mut bits = vec![0_u16; count];
            file.read_exact(bytemuck::cast_slice_mut(&mut bits)).map_err(io)?;
            bits.iter_mut().for_each(|bits| *bits = u16::from_le(*bits));
            let finite = bits.iter().all(|&bits| f16::from_bits(bits).is_finite());
            (Rows::F16(bits), finite)
        } else {
            let mut bits = vec![0_u32; count];
            file.read_exact(bytemuck::cast_slice_mut(&mut bits)).map_err(io)?;
            let values: Vec<f32> = bits.into_iter().map(|bits| f32::from_bits(u32::from_le(bits))).collect();
            let finite = values.iter().all(|value| value.is_finite());
            (Rows::F32(values), finite)
        };
        if finite { Ok(rows) } else { Err(config(&self.path, "has values that are not finite")) }
    }
}

fn config(path: &Path, what: impl std::fmt::Display) -> EmbedError {
    EmbedError::Config(format!("the static model {}: {what}", path.display()))
}

/// Cuts the texts into jobs.
fn slices(texts: Vec<String>) -> Vec<Vec<String>> {
    let (mut slices, mut bytes) = (Vec::<Vec<String>>::new(), 0);
    for text in texts {
        bytes += text.len();
        match slices.last_mut() {
            Some(slice) if bytes <= SLICE_BYTES => slice.push(text),
            _ => {
                bytes = text.len();
                slices.push(vec![text]);
            }
        }
    }
    slices
}

#[async_trait]
impl Embedder for StaticModel {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(self.table.json_tokenizer()?.clone())
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        let pool = match kind {
            Kind::Query => &self.pools.search,
            Kind::Document => &self.pools.build,
        };
        let count = texts.len();
        let jobs = stream::iter(slices(texts)).map(|texts| {
            let table = self.table.clone();
            async move {
                let done = pool.run(move || table.embed(&texts)).await;
                done.map_err(|error| EmbedError::Provider(error.to_string()))?
            }
        });
        Embeddings::join(self.model.dimensions, count, jobs.buffered(pool.threads())).await
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        self.embed(vec!["warm".into()], Kind::Query).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
