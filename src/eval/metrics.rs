//! Ranking metrics as trec_eval computes them: nDCG with linear gain (Järvelin and Kekäläinen, 2002),
//! recall and reciprocal rank at a cut-off.

use std::collections::HashMap;

/// The judgments of one query: document id → grade; a grade of 0 or less is "not relevant".
pub type Judgments = HashMap<String, i32>;

/// Discounted cumulative gain of `ranking`'s first `k`, divided by that of the best possible ranking of
/// all judged documents; 0 where nothing is relevant.
pub fn ndcg(ranking: &[String], judgments: &Judgments, k: usize) -> f64 {
    let gain = |grades: &mut dyn Iterator<Item = i32>| -> f64 {
        let gains = grades.take(k).map(|grade| f64::from(grade.max(0)));
        gains.zip(2u32..).map(|(gain, rank_plus_1)| gain / f64::from(rank_plus_1).log2()).sum()
    };
    let mut best: Vec<i32> = judgments.values().copied().collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = gain(&mut best.into_iter());
    if ideal == 0.0 {
        return 0.0;
    }
    gain(&mut ranking.iter().map(|id| judgments.get(id).copied().unwrap_or(0))) / ideal
}

/// The share of the relevant documents that is among the first `k` of `ranking`; 0 where none is relevant.
pub fn recall(ranking: &[String], judgments: &Judgments, k: usize) -> f64 {
    let relevant = judgments.values().filter(|&&grade| grade > 0).count();
    if relevant == 0 {
        return 0.0;
    }
    ranking.iter().take(k).filter(|id| is_relevant(judgments, id)).count() as f64 / relevant as f64
}

/// One over the rank of the first relevant document among the first `k`; 0 where there is none.
pub fn reciprocal_rank(ranking: &[String], judgments: &Judgments, k: usize) -> f64 {
    let first = ranking.iter().take(k).position(|id| is_relevant(judgments, id));
    first.map_or(0.0, |position| 1.0 / (position + 1) as f64)
}

/// The `p`-th percentile (nearest rank) of `values`, which are sorted here; 0 where there are none.
pub fn percentile(values: &mut [f64], p: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (p / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn is_relevant(judgments: &Judgments, id: &str) -> bool {
    judgments.get(id).is_some_and(|&grade| grade > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(ids: &str) -> Vec<String> {
        ids.split_whitespace().map(str::to_owned).collect()
    }

    fn judgments(pairs: &[(&str, i32)]) -> Judgments {
        pairs.iter().map(|(id, grade)| ((*id).to_owned(), *grade)).collect()
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-4, "{actual} is not {expected}");
    }

    #[test]
    fn ndcg_has_linear_gain_and_an_ideal_of_all_judgments() {
        // DCG = 3/log2(2) + 0 + 2/log2(4) = 4; ideal = 3/log2(2) + 2/log2(3) + 1/log2(4) = 4.76186
        let judged = judgments(&[("a", 3), ("b", 2), ("c", 1), ("d", 0), ("e", -1)]);
        close(ndcg(&ranking("a x b"), &judged, 10), 4.0 / 4.76186);
        // exponential gain would give 0.8947 here
        close(ndcg(&ranking("b a"), &judgments(&[("a", 2), ("b", 1)]), 10), (1.0 + 1.26186) / 2.63093);
        close(ndcg(&ranking("a b c"), &judged, 10), 1.0);
        // negative grades cost nothing
        close(ndcg(&ranking("e a b c"), &judged, 10), ndcg(&ranking("x a b c"), &judged, 10));
        assert_eq!(ndcg(&ranking("x y"), &judged, 10), 0.0);
        assert_eq!(ndcg(&ranking("d"), &judgments(&[("d", 0)]), 10), 0.0);
    }

    #[test]
    fn ndcg_cuts_ranking_and_ideal_at_k() {
        let judged = judgments(&[("a", 1), ("b", 1), ("c", 1)]);
        close(ndcg(&ranking("a b"), &judged, 2), 1.0);
        close(ndcg(&ranking("x a b c"), &judged, 2), 0.63093 / 1.63093);
    }

    #[test]
    fn recall_counts_relevant_documents_only() {
        let judged = judgments(&[("a", 1), ("b", 2), ("c", 0), ("d", 1), ("e", 1)]);
        close(recall(&ranking("a c x b"), &judged, 100), 0.5);
        close(recall(&ranking("a c x b"), &judged, 3), 0.25);
        assert_eq!(recall(&ranking("a"), &judgments(&[("a", 0)]), 10), 0.0);
    }

    #[test]
    fn reciprocal_rank_is_of_the_first_relevant_within_k() {
        let judged = judgments(&[("a", 1), ("b", 0)]);
        close(reciprocal_rank(&ranking("b x a"), &judged, 10), 1.0 / 3.0);
        assert_eq!(reciprocal_rank(&ranking("b x a"), &judged, 2), 0.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50.0), 100.0);
        assert_eq!(percentile(&mut values, 99.0), 198.0);
        assert_eq!(percentile(&mut [7.0], 99.0), 7.0);
        assert_eq!(percentile(&mut [], 50.0), 0.0);
    }
}
