//! `gleaner quickstart`, and how well its sample answers questions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::support::server::{Server, gleaner};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
    /// Where its answer is.
    document: String,
    heading: String,
}

#[test]
fn the_sample_is_loaded_and_answers_questions() {
    let dir = tempfile::tempdir().unwrap();
    let output = gleaner()
        .args(["quickstart", "--exit", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}{errors}");
    assert_eq!(errors, "");
    let after_the_question = shown.split("\nQuestion: ").nth(1).unwrap();
    assert!(after_the_question.contains("docs/promise.md"), "{shown}");
    assert!(after_the_question.contains("curl -s http://127.0.0.1:"), "{shown}");

    // a second time it finds what it loaded
    let server = Server::start(dir.path(), &[]);
    let questions: Vec<Question> =
        serde_json::from_str(include_str!("../../fixtures/questions.json")).unwrap();
    assert_eq!(questions.len(), 5);
    let mut wrong = BTreeMap::new();
    for question in questions {
        let answer = server.search("quickstart", &json!({"query": question.question, "mode": "hybrid"}));
        assert_eq!(answer["status"]["degraded"], false);
        let first = &answer["hits"][0];
        let heading = first["headings"].as_array().and_then(|headings| headings.last());
        let found = (first["document_id"].as_str().unwrap(), heading.and_then(|heading| heading.as_str()));
        if found != (&question.document, Some(&question.heading)) {
            wrong.insert(question.question, format!("{found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
