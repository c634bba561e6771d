//! What calls to providers cost.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What calls to providers cost. A model on this machine costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Requests that were sent, repeated ones included.
    pub requests: u64,
    /// Those of them that repeated an earlier one.
    pub retries: u64,
    /// Tokens, as the provider counts them (by estimate where it does not say).
    pub tokens: u64,
    /// Estimated cost in US dollars, by the price in the collection's definition.
    pub cost_usd: f64,
}

impl Usage {
    /// Whether nothing was asked of a provider.
    pub fn is_zero(&self) -> bool {
        *self == Usage::default()
    }

    /// Shares of it in proportion to `weights`, which add up to the whole.
    pub fn split(&self, weights: &[u64]) -> Vec<Usage> {
        let all: u64 = weights.iter().sum();
        let (mut so_far, mut before) = (0, Usage::default());
        let share = |weight: &u64| {
            so_far += weight;
            let part = so_far as f64 / all.max(1) as f64;
            let of = |count: u64| (count as f64 * part).round() as u64;
            let until = Usage {
                requests: of(self.requests),
                retries: of(self.retries),
                tokens: of(self.tokens),
                cost_usd: self.cost_usd * part,
            };
            let share = Usage {
                requests: until.requests - before.requests,
                retries: until.retries - before.retries,
                tokens: until.tokens - before.tokens,
                cost_usd: until.cost_usd - before.cost_usd,
            };
            before = until;
            share
        };
        weights.iter().map(share).collect()
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.tokens += other.tokens;
        self.cost_usd += other.cost_usd;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let usage = Usage { requests: 7, retries: 2, tokens: 1001, cost_usd: 0.5 };
        let shares = usage.split(&[1, 0, 3, 1]);
        assert_eq!(shares[1], Usage::default());
        assert_eq!(shares[2].tokens, 601);
        let mut sum = Usage::default();
        shares.into_iter().for_each(|share| sum += share);
        assert_eq!((sum.requests, sum.retries, sum.tokens), (7, 2, 1001));
        assert!((sum.cost_usd - 0.5).abs() < 1e-12);
        assert_eq!(usage.split(&[0]), [Usage::default()]);
    }
}
