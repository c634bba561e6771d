//! A `graph` part with any header, links, entries and calibration over sound vectors: opened, counted, walked.
#![no_main]

use std::sync::LazyLock;

use gleaner::store::{OsDisk, PartFile, PartKind, PartWriter};
use gleaner::vector::graph::search;
use gleaner::vector::{Effort, GraphPart, VectorPart, VectorWriter, recall};
use gleaner_fuzz::{
    Cut, METRICS, STORAGES, bytes, check_found, damage_word, fill, filter, part, path, query, rarely, some,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// Sound vectors, a part for each number of rows.
static VECTORS: LazyLock<Vec<VectorPart>> = LazyLock::new(|| {
    [0, 1, 15, 70, 300].into_iter().enumerate().map(|(at, rows)| vectors(at, rows)).collect()
});

fn vectors(at: usize, rows: u32) -> VectorPart {
    let path = path(&format!("rows-{rows}"));
    let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).expect("a new part");
    let dimensions = 10 + at as u32 * 17;
    let (metric, storage) = (METRICS[at % 3], STORAGES[at * 2 % 3]);
    let mut writer = VectorWriter::new(writer, metric, storage, dimensions).expect("a writer");
    for row in 0..rows {
        let value = |dimension: u32| ((row * 31 + 7) * (dimension + 3) % 101) as f32 / 50.0 - 1.0;
        writer.push(&(0..dimensions).map(value).collect::<Vec<f32>>()).expect("a row");
    }
    writer.finish().expect("the end of the part");
    let part = VectorPart::open(PartFile::open(&path, PartKind::Vectors).expect("a part")).expect("vectors");
    std::fs::remove_file(path).expect("the part is removed");
    part
}

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let vectors = input.choose(&VECTORS)?;
    let rows = vectors.rows();
    let width = input.int_in_range(2..=24u32)?;
    let entries = if rows == 0 { 0 } else { input.int_in_range(1..=40u32)? };
    let recalls = input.int_in_range(1..=6u32)?;
    let precision = input.int_in_range(1..=2u32)?;
    let mut header = [rows, vectors.dimensions(), width, entries, precision, recalls];
    damage_word(input, &mut header)?;
    let cut = Cut::choose(input, 6)?;
    let target = input.int_in_range(0..=110u8)?;
    let (ef, k) = (input.int_in_range(0..=80usize)?, input.int_in_range(0..=40usize)?);
    let stray = if rarely(input)? { input.arbitrary()? } else { 0 };
    let mut pairs = Vec::new();
    for _ in 0..recalls {
        pairs.push(input.int_in_range(1..=120u32)?);
        pairs.push((f32::from(input.arbitrary::<u8>()?) / 255.0).to_bits());
    }
    damage_word(input, &mut pairs)?;
    let (asked, allowed) = (some(input, 40)?, some(input, 40)?);
    let copies = fill(some(input, 40)?, rows.div_ceil(64) as usize * 8);

    // most links and entries lead to rows, some end a list, and a few lead anywhere
    let to_row = |byte: u8| match byte {
        250..=255 => u32::MAX,
        249 => stray,
        _ => u32::from(byte) * 13 % rows.max(1),
    };
    let entry_rows = fill(some(input, 40)?, entries as usize).into_iter().map(|byte| to_row(byte.min(249)));
    let panels = entries.div_ceil(16) * 16 * (4 + vectors.dimensions().div_ceil(4));
    let panels = fill(some(input, 300)?, panels as usize * 4);
    // lists are not one short pattern over and over
    let links = fill(some(input, 2000)?, (rows * width) as usize).into_iter().enumerate();
    let links = links.map(|(at, byte)| to_row(byte.wrapping_add((at / 2000) as u8)));
    let mut sections = vec![
        (1, bytes(header)),
        (2, bytes(links)),
        (3, bytes(entry_rows)),
        (4, panels),
        (5, bytes(pairs)),
        (6, copies),
    ];
    cut.apply(&mut sections);

    let Ok(graph) = GraphPart::open(part(PartKind::Graph, &sections), rows) else { return Ok(()) };
    let query = query(asked, vectors.metric(), vectors.dimensions());
    let allowed = filter(allowed, rows);
    let sound = graph.reachable().map(|reached| assert!(reached <= rows)).is_ok();
    for checked in [false, true] {
        if checked && (graph.check_links().is_err() || vectors.check_codes().is_err()) {
            return Ok(());
        }
        for effort in [Effort::Ef(ef), Effort::Recall(f32::from(target) / 100.0)] {
            for allowed in [None, Some(&allowed)] {
                match search(vectors, &graph, &query, k, effort, allowed) {
                    Ok(found) => check_found(&found, rows, k, allowed),
                    Err(error) => assert!(!checked || graph.dimensions() != vectors.dimensions(), "{error}"),
                }
                if let Ok(found) = recall(vectors, Some(&graph), &query, k, effort, false, allowed) {
                    check_found(&found, rows, k, allowed);
                }
            }
        }
        assert!(!checked || sound, "links that check as sound can be counted");
    }
    Ok(())
}
