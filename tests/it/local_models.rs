//! Local models: the command that manages their folder, and collections that embed and rerank with them.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::server::{Server, gleaner, hit_ids, serve};

/// A cross-encoder of a few hundred bytes: the more and rarer the tokens of the text, the higher its score.
const CROSS_ENCODER: &[u8] = include_bytes!("../../fixtures/models/sum-of-second-text.onnx");

fn path(relative: &str) -> String {
    format!("{}/{relative}", env!("CARGO_MANIFEST_DIR"))
}

/// The same, but a text that says `eternity` takes it the better part of a minute.
const SLOW: &[u8] = include_bytes!("../../fixtures/models/slow-on-a-word.onnx");

/// The folder of a model that is to be added.
fn source(dir: &Path, manifest: &str, network: &[u8]) -> std::path::PathBuf {
    let source = dir.join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("model_quantized.onnx"), network).unwrap();
    std::fs::copy(path("models/all-minilm-l6-v2/tokenizer.json"), source.join("tokenizer.json")).unwrap();
    std::fs::write(source.join("gleaner.toml"), manifest).unwrap();
    source
}

const RERANKER: &str = "id = 'tiny'\nkind = 'reranker'\nlicence = 'CC0-1.0'\nmax_tokens = 64\nweight = 0.5\n";

fn models(models_dir: &Path, arguments: &[&str]) -> Output {
    gleaner().arg("models").args(arguments).arg("--models-dir").arg(models_dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn models_are_added_listed_with_licences_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (models_dir, source) = (dir.path().join("models"), source(dir.path(), RERANKER, CROSS_ENCODER));
    let added = models(&models_dir, &["add", source.to_str().unwrap()]);
    // it prefers rare words, so the passage that fits does win
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(text(&added.stdout).contains("tiny: tiny, reranker, licence CC0-1.0"), "{}", text(&added.stdout));
    assert!(text(&added.stdout).contains("runs: "), "{}", text(&added.stdout));
    let twice = models(&models_dir, &["add", source.to_str().unwrap()]);
    assert!(!twice.status.success() && text(&twice.stderr).contains("is there already"));
    std::fs::create_dir(models_dir.join("broken")).unwrap();
    let listed = text(&models(&models_dir, &["list"]).stdout);
    assert!(listed.contains("broken: cannot be used: ") && listed.contains("licence CC0-1.0"), "{listed}");
    let checked = models(&models_dir, &["check"]);
    assert!(!checked.status.success(), "one of them is broken");
    assert!(text(&checked.stdout).contains("tiny: runs"), "{}", text(&checked.stdout));
    let missing = models(&models_dir, &["check", "none"]);
    assert!(
        text(&missing.stdout).contains("broken, tiny"),
        "it says what there is: {}",
        text(&missing.stdout)
    );

    // the model of this repository needs no description
    let own = text(&models(Path::new(&path("models")), &["check"]).stdout);
    assert!(own.contains("all-minilm-l6-v2: runs"), "{own}");
    let own = text(&models(Path::new(&path("models")), &["list"]).stdout);
    assert!(own.contains("embedder of 384 dimensions, licence Apache-2.0"), "{own}");
}

fn start(dir: &Path) -> Server {
    let mut command = serve(&dir.join("data"));
    command.env("GLEANER_MODELS_DIR", dir.join("models"));
    Server::launch(command, None)
}

#[test]
fn a_cross_encoder_is_fused_with_the_first_stage_and_says_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path(), RERANKER, CROSS_ENCODER);
    assert!(models(&dir.path().join("models"), &["add", source.to_str().unwrap()]).status.success());
    let server = start(dir.path());
    let documents = json!([
        {"id": "short", "text": "kumquat"},
        {"id": "long", "text": "kumquat marmalade simmering quietly beneath an unreasonably ornate chandelier"},
        {"id": "other", "text": "nothing of the kind"},
    ]);
    let create = |name: &str, rerank: Value| {
        server.create(&json!({"name": name, "embedding": {"provider": "none"}, "rerank": rerank}));
        server.post(&format!("/v1/collections/{name}/documents?wait=true"), &documents).expect(200);
    };
    create("hurried", json!({"provider": "local", "model": "tiny", "timeout_ms": 1}));
    let query = json!({"query": "kumquat", "explain": true});
    let by_words = server.search("hurried", &json!({"query": "kumquat", "rerank": false}));
    assert_eq!(hit_ids(&by_words), ["short", "long"]);
    // the model is not even loaded within a millisecond
    let hurried = server.search("hurried", &query);
    assert_eq!(
        (&hurried["status"]["rerank"]["state"], hit_ids(&hurried)),
        (&json!("partial"), hit_ids(&by_words))
    );
    assert!(hurried["status"]["rerank"]["error"].as_str().unwrap().contains("0 of 2"), "{hurried}");
    assert_eq!(hurried["status"]["degraded"], true);

    create("patient", json!({"provider": "local", "model": "tiny", "timeout_ms": 60_000}));
    let reranked = server.search("patient", &query);
    assert_eq!(
        (&reranked["status"]["rerank"]["state"], hit_ids(&reranked)),
        (&json!("ok"), vec!["long", "short"])
    );
    for hit in reranked["hits"].as_array().unwrap() {
        let number = |value: &Value| value.as_f64().unwrap();
        let fused = (number(&hit["explain"]["fused"]) + number(&hit["explain"]["rerank"])) / 2.0;
        assert!((number(&hit["score"]) - fused).abs() < 1e-6, "{hit}");
    }
    let refusal = |rerank: Value| {
        server.post(
            "/v1/collections",
            &json!({"name": "x", "embedding": {"provider": "none"}, "rerank": rerank}),
        )
    };
    for bad in ["none", "../source", ""] {
        let answer = refusal(json!({"provider": "local", "model": bad})).refusal();
        assert_eq!((answer.0, answer.1.as_str()), (400, "invalid_definition"), "{bad}");
    }
    let wrong = json!({"name": "x", "embedding": {"provider": "local", "model": "tiny"}});
    assert_eq!(server.post("/v1/collections", &wrong).refusal().1, "invalid_definition");
}

#[test]
fn when_its_time_is_over_a_cross_encoder_has_ordered_what_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path(), RERANKER, SLOW);
    assert!(models(&dir.path().join("models"), &["add", source.to_str().unwrap()]).status.success());
    let server = start(dir.path());
    let rerank = json!({"provider": "local", "model": "tiny", "timeout_ms": 5000, "candidates": 3});
    server.create(&json!({"name": "c", "embedding": {"provider": "none"}, "rerank": rerank}));
    let documents = json!([
        {"id": "short", "text": "kumquat"},
        {"id": "long", "text": "kumquat marmalade simmering quietly beneath an unreasonably ornate chandelier"},
        {"id": "endless", "text": format!("kumquat eternity {}", "and other fruit ".repeat(12))},
        {"id": "unseen", "text": format!("kumquat {}", "and yet more fruit ".repeat(24))},
    ]);
    server.post("/v1/collections/c/documents?wait=true", &documents).expect(200);
    let by_words = server.search("c", &json!({"query": "kumquat", "rerank": false}));
    assert_eq!(hit_ids(&by_words), ["short", "long", "endless", "unseen"]);
    // the model is loaded: what follows needs milliseconds for two texts, and has seconds
    assert_eq!(server.search("c", &json!({"query": "chandelier"}))["status"]["rerank"]["state"], "ok");
    let hurried = server.search("c", &json!({"query": "kumquat", "explain": true}));
    let rerank = &hurried["status"]["rerank"];
    assert_eq!((&rerank["state"], &hurried["status"]["degraded"]), (&json!("partial"), &json!(true)));
    assert!(rerank["error"].as_str().unwrap().contains("2 of 3"), "{rerank}");
    assert_eq!(hurried["rerank_usage"]["pairs"], 2);
    // what was scored is in the new order; what was not, and what was not to be, follows in the old one
    assert_eq!(hit_ids(&hurried), ["long", "short", "endless", "unseen"]);
    let scored = |hit: &Value| hit["explain"]["rerank"].is_number();
    let scored: Vec<_> = hurried["hits"].as_array().unwrap().iter().map(scored).collect();
    assert_eq!(scored, [true, true, false, false]);
    let strict = json!({"query": "kumquat", "strict": true});
    assert_eq!(server.post("/v1/collections/c/search", &strict).refusal().1, "timeout");
}

#[cfg(feature = "builtin-model")]
#[test]
fn a_model_in_a_folder_embeds_like_the_same_model_in_the_binary() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(path("models"), dir.path().join("models")).unwrap();
    let server = start(dir.path());
    let documents = json!([
        {"id": "password", "text": "To get a new password, choose Forgot password."},
        {"id": "soup", "text": "The soup needs more salt."},
    ]);
    let raw = |name: &str, embedding: Value| {
        server.create(&json!({"name": name, "embedding": embedding}));
        server.post(&format!("/v1/collections/{name}/documents?wait=true"), &documents).expect(200);
        let query = json!({"query": "I cannot log in", "mode": "dense", "explain": true});
        let answer = server.search(name, &query);
        let hits = answer["hits"].as_array().unwrap().clone();
        hits.iter()
            .map(|hit| (hit["document_id"].clone(), hit["explain"]["dense"]["raw"].clone()))
            .collect::<Vec<_>>()
    };
    let folder = raw("folder", json!({"provider": "local", "model": "all-minilm-l6-v2"}));
    assert_eq!(folder, raw("binary", json!({"provider": "builtin"})));
    assert_eq!(folder[0].0, "password");
    let model = &server.get("/v1/collections/folder/stats").expect(200)["model"];
    assert!(model.as_str().unwrap().starts_with("all-minilm-l6-v2-int8-"), "{model}");
}
