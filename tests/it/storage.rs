//! Collections that store their vectors in other types than `float32`.

use serde_json::{Value, json};

use crate::support::server::{Server, hit_ids, inspect, verify};

const ROWS: usize = 300;
const DIMENSIONS: usize = 24;

/// Vectors of which no two are near each other.
fn vector(row: usize) -> Vec<f32> {
    (0..DIMENSIONS).map(|at| ((row * 31 + 7) * (at + 3) % 101) as f32 / 50.0 - 1.0).collect()
}

fn documents() -> Value {
    (0..ROWS)
        .map(|row| json!({"id": row.to_string(), "text": format!("row {row}"), "vector": vector(row)}))
        .collect()
}

/// Nearest first, and the raw score of the nearest.
fn nearest(server: &Server, row: usize) -> (Vec<String>, f64) {
    let query = json!({"vector": vector(row), "mode": "dense", "limit": 5, "explain": true});
    let answer = server.search("v", &query);
    let first = answer["hits"][0]["explain"]["dense"]["raw"].as_f64().unwrap();
    (hit_ids(&answer).into_iter().map(str::to_owned).collect(), first)
}

#[test]
fn collections_of_every_storage_answer_alike_and_say_what_a_vector_takes() {
    let mut all = Vec::new();
    for (storage, originals, room) in
        [("float32", 4 * DIMENSIONS, 1e-5), ("float16", 2 * DIMENSIONS, 1e-3), ("int8", 0, 1e-3)]
    {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), &[]);
        let embedding = json!({"provider": "client", "dimensions": DIMENSIONS});
        let vector = json!({"storage": storage, "graph_min_rows": 100});
        server.create(&json!({"name": "v", "embedding": embedding, "vector": vector}));
        let written = server.post("/v1/collections/v/documents?wait=true", &documents()).expect(200);
        assert_eq!(written["accepted"], ROWS);
        // a second segment, to be merged with the first
        let again = json!([{"id": "again", "text": "row 7 again", "vector": self::vector(7)}]);
        server.post("/v1/collections/v/documents?wait=true", &again).expect(200);
        server.settle("v");
        for row in 0..40 {
            let (found, first) = nearest(&server, row);
            assert!(
                found[0] == row.to_string() || row == 7 && found[0] == "again",
                "{storage} {row}: {found:?}"
            );
            assert!((first - 1.0).abs() < room, "{storage} {row}: {first}");
            all.push((row, found));
        }
        let described = server.get("/v1/collections/v").expect(200);
        assert_eq!(described["definition"]["vector"]["storage"], storage);
        let stats = server.get("/v1/collections/v/stats").expect(200);
        let bytes = &stats["bytes_per_vector"];
        assert_eq!(bytes["originals"], originals as f64, "{stats}");
        let sum = bytes["codes"].as_f64().unwrap() + bytes["graph"].as_f64().unwrap();
        assert!((bytes["in_memory"].as_f64().unwrap() - sum).abs() < 0.2, "{stats}");
        server.stop();

        let inspection = inspect(dir.path());
        assert_eq!(inspection["collections"][0]["storage"], storage);
        for segment in inspection["collections"][0]["segments"].as_array().unwrap() {
            assert_eq!(segment["bytes_per_vector"]["originals"], originals as f64);
        }
        assert_eq!(verify(dir.path())["problems"], json!([]));
        let server = Server::start(dir.path(), &[]);
        assert_eq!(nearest(&server, 11).0[0], "11");
    }
    let same =
        |a: &(usize, Vec<String>), b: &(usize, Vec<String>)| a.1.iter().filter(|id| b.1.contains(id)).count();
    for other in all[40..].chunks(40) {
        let found: usize = all[..40].iter().zip(other).map(|(a, b)| same(a, b)).sum();
        assert!(found >= 190, "{found} of 200");
    }
}

#[test]
fn a_value_that_is_too_large_fails_its_document_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let embedding = json!({"provider": "client", "dimensions": 2});
    let vector = json!({"storage": "float16", "metric": "l2"});
    server.create(&json!({"name": "v", "embedding": embedding, "vector": vector}));
    let documents = json!([
        {"id": "good", "text": "good", "vector": [1.0, 65504.0]},
        {"id": "bad", "text": "bad", "vector": [1.0, 70000.0]},
    ]);
    let answer = server.post("/v1/collections/v/documents?wait=true", &documents).expect(200);
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(1), &json!(1)), "{answer}");
    assert!(answer.to_string().contains("number 1 is 70000: float16 holds at most 65504"), "{answer}");
    // a query is not stored
    let answer = server.search("v", &json!({"vector": [1.0, 70000.0], "mode": "dense"}));
    assert_eq!(hit_ids(&answer), ["good"]);

    let (status, code, param) =
        server.post("/v1/collections", &json!({"name": "w", "vector": {"storage": "float64"}})).refusal();
    assert_eq!((status, code.as_str(), param.as_deref()), (400, "invalid_request", Some("vector.storage")));
}
