use serde_json::json;

use super::*;

fn texts() -> Vec<String> {
    vec!["a".into(), "b".into()]
}

#[test]
fn each_provider_is_asked_in_its_own_words_and_its_answer_is_read() {
    let cases = [
        (
            &cohere::COHERE,
            json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2}),
            json!({"id": "x", "results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 1.5}],
                "meta": {"billed_units": {"search_units": 1}}}),
            (None, 1),
        ),
        (
            &jina::JINA,
            json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2, "return_documents": false}),
            json!({"model": "m", "results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 1}],
                "usage": {"total_tokens": 12}}),
            (Some(12), 0),
        ),
        (
            &voyage::VOYAGE,
            json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_k": 2, "truncation": true}),
            json!({"object": "list", "usage": {"total_tokens": 12},
                "data": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 1}]}),
            (Some(12), 0),
        ),
        (
            &tei::TEI,
            json!({"query": "q", "texts": ["a", "b"], "raw_scores": false, "truncate": true}),
            json!([{"index": 1, "score": 0.5}, {"index": 0, "score": 1.0}]),
            (None, 0),
        ),
    ];
    for (provider, request, answer, counted) in cases {
        assert_eq!((provider.body)("m", "q", &texts()), request);
        let answer = (provider.read)(answer.to_string().as_bytes()).unwrap();
        assert_eq!((answer.tokens, answer.search_units), counted);
        assert_eq!(answer.scores(2).unwrap(), [1.0, 0.5]);
    }
}

#[test]
fn wrong_scores_are_errors_that_say_what_is_wrong() {
    for (scores, reason) in [
        (vec![(0, 0.1)], "1 scores for 2"),
        (vec![(0, 0.1), (2, 0.1)], "unasked"),
        (vec![(0, 0.1), (0, 0.1)], "twice"),
        (vec![(0, 0.1), (1, f32::INFINITY)], "finite"),
    ] {
        let error = Answer { scores, tokens: None, search_units: 0 }.scores(2).unwrap_err();
        assert!(error.contains(reason), "{error} does not say {reason}");
    }
}
