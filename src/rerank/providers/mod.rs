//! What sets rerank providers apart, one small table each.

mod cohere;
mod jina;
mod tei;
mod voyage;

use serde_json::Value;

use crate::collection::definition::RerankDefinition;
use crate::collection::remote::RemoteRerank;

/// What sets a provider apart.
pub struct Provider {
    /// Its address.
    pub base_url: &'static str,
    /// The environment variable its key is usually in; empty: it needs none.
    pub api_key_env: &'static str,
    /// What follows the base URL.
    pub path: &'static str,
    /// The most texts in a request.
    pub max_items: usize,
    /// The request: model, query, texts.
    pub body: fn(&str, &str, &[String]) -> Value,
    /// The answer; the error says what is wrong with it.
    pub read: fn(&[u8]) -> Result<Answer, serde_json::Error>,
}

/// What a provider answers.
pub struct Answer {
    /// Which text, and its score.
    pub scores: Vec<(usize, f32)>,
    /// Tokens, as it counts them.
    pub tokens: Option<u64>,
    /// Searches it bills; 0 where it bills by something else.
    pub search_units: u64,
}

/// The table of a definition's provider; `None` for a local model.
pub fn of(definition: &RerankDefinition) -> Option<(&'static Provider, &RemoteRerank)> {
    match definition {
        RerankDefinition::Cohere(remote) => Some((&cohere::COHERE, remote)),
        RerankDefinition::Jina(remote) => Some((&jina::JINA, remote)),
        RerankDefinition::Voyage(remote) => Some((&voyage::VOYAGE, remote)),
        RerankDefinition::Tei(remote) => Some((&tei::TEI, remote)),
        RerankDefinition::Local { .. } => None,
    }
}

impl Answer {
    /// The scores of `count` texts in their order, within 0 and 1; the error says what is wrong with them.
    pub fn scores(self, count: usize) -> Result<Vec<f32>, String> {
        if self.scores.len() != count {
            return Err(format!("the reranker sent {} scores for {count} texts", self.scores.len()));
        }
        let mut placed = vec![None; count];
        for (index, score) in self.scores {
            match placed.get_mut(index) {
                Some(place @ None) if score.is_finite() => *place = Some(score.clamp(0.0, 1.0)),
                Some(None) => return Err(format!("the reranker's score for text {index} is not finite")),
                _ => return Err(format!("the reranker scored text {index} of {count} unasked or twice")),
            }
        }
        // as many scores as texts and none twice: every text has its own
        Ok(placed.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests;
