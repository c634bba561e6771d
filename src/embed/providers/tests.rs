use serde_json::json;

use super::*;

fn ask<'a>(model: &'a str, kind: Kind, dimensions: Option<usize>) -> Ask<'a> {
    Ask { model, texts: &["a", "b"], kind, dimensions, encoding: EmbeddingEncoding::Base64 }
}

#[test]
fn the_usual_keys_may_be_sent() {
    use EmbeddingProvider::*;
    for provider in [Openai, AzureOpenai, Cohere, Voyage, Jina, Mistral, Gemini, Ollama, Tei] {
        let variable = of(provider).api_key_env;
        assert!(variable.is_empty() || crate::dispatch::KEY_VARIABLES.contains(&variable), "{variable}");
    }
}

#[test]
fn each_provider_is_asked_in_its_own_words() {
    use EmbeddingProvider::*;
    let cases = [
        (
            Openai,
            "m",
            json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 4}),
        ),
        (
            AzureOpenai,
            "m",
            json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 4}),
        ),
        (
            Cohere,
            "m",
            json!({"model": "m", "texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["float"],
                "output_dimension": 4}),
        ),
        (
            Voyage,
            "m",
            json!({"model": "m", "input": ["a", "b"], "input_type": "query", "encoding_format": "base64",
                "output_dimension": 4}),
        ),
        (
            Jina,
            "jina-embeddings-v3",
            json!({"model": "jina-embeddings-v3", "input": ["a", "b"], "embedding_type": "base64",
                "normalized": true, "task": "retrieval.query", "dimensions": 4}),
        ),
        (
            Mistral,
            "m",
            json!({"model": "m", "input": ["a", "b"], "encoding_format": "float", "output_dimension": 4}),
        ),
        (
            Gemini,
            "gemini-embedding-001",
            json!({"requests": [
                {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]},
                    "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 4},
                {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]},
                    "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 4},
            ]}),
        ),
        (Ollama, "m", json!({"model": "m", "input": ["a", "b"], "truncate": true, "dimensions": 4})),
        (Tei, "m", json!({"inputs": ["a", "b"], "normalize": true, "truncate": true, "dimensions": 4})),
    ];
    for (provider, model, expected) in cases {
        assert_eq!((of(provider).body)(&ask(model, Kind::Query, Some(4))), expected, "{provider:?}");
        let without = (of(provider).body)(&ask(model, Kind::Document, None)).to_string();
        assert!(!without.contains("imension"), "{without}");
    }
    let url = |provider, base| (of(provider).url)(base, "m");
    assert_eq!(
        url(AzureOpenai, "https://n.openai.azure.com"),
        "https://n.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21"
    );
    assert_eq!(url(Gemini, "https://g/v1beta"), "https://g/v1beta/models/m:batchEmbedContents");
    assert_eq!(url(Cohere, "https://c"), "https://c/v2/embed");
    assert_eq!(url(Ollama, "http://o"), "http://o/api/embed");
}

#[test]
fn each_providers_answer_is_read_with_its_count_of_tokens() {
    use EmbeddingProvider::*;
    let list = json!({"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}],
        "usage": {"prompt_tokens": 7, "total_tokens": 7}});
    let cases = [
        (Openai, list.clone(), Some(7)),
        (AzureOpenai, list.clone(), Some(7)),
        (Voyage, list.clone(), Some(7)),
        (Jina, list.clone(), Some(7)),
        (Mistral, list, Some(7)),
        (
            Cohere,
            json!({"id": "x", "embeddings": {"float": [[1, 2], [3, 4]]}, "texts": ["a", "b"],
                "meta": {"billed_units": {"input_tokens": 5.0}}}),
            Some(5),
        ),
        (Gemini, json!({"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]}), None),
        (Ollama, json!({"model": "m", "embeddings": [[1, 2], [3, 4]], "prompt_eval_count": 9}), Some(9)),
        (Tei, json!([[1, 2], [3, 4]]), None),
    ];
    for (provider, body, tokens) in cases {
        let answer = (of(provider).read)(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.tokens, tokens, "{provider:?}");
        let vectors = answer.vectors(2, 2).unwrap();
        assert_eq!(vectors, [Ok(vec![1.0, 2.0]), Ok(vec![3.0, 4.0])], "{provider:?}");
    }
}

#[test]
fn one_bad_vector_is_told_from_an_answer_that_is_of_no_use() {
    let read = |data: Value| (openai::OPENAI.read)(json!({ "data": data }).to_string().as_bytes()).unwrap();
    let vectors = |data: Value| read(data).vectors(2, 3);
    let one = |embedding: Value| {
        let data = json!([{"index": 0, "embedding": embedding}, {"index": 1, "embedding": [1, 2, 3]}]);
        let vectors = vectors(data).unwrap();
        assert!(vectors[1].is_ok());
        vectors[0].clone().unwrap_err()
    };
    assert!(one(json!([1, 2])).contains("2 values"));
    assert!(one(json!([1, 2, 1e39])).contains("finite"));
    assert!(one(json!("AADAfwAAwH8AAMB/")).contains("finite"), "three times NaN");
    assert!(one(json!("AADAfw!")).contains("base64"));
    assert!(one(json!("AADAf38=")).contains("5 bytes"));
    let three = json!([1, 2, 3]);
    for (data, reason) in [
        (json!([{"index": 0, "embedding": three}]), "1 vectors for 2 texts"),
        (json!([{"index": 0, "embedding": three}, {"index": 0, "embedding": three}]), "twice"),
        (json!([{"index": 0, "embedding": three}, {"index": 9, "embedding": three}]), "unasked"),
    ] {
        let error = vectors(data).unwrap_err();
        assert!(error.contains(reason), "{error} does not say {reason}");
    }
}
