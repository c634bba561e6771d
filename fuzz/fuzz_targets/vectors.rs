//! A `vectors` part with any header, values, codes and constants: opened, read, searched, merged.
#![no_main]

use gleaner::store::{OsDisk, PartKind, PartWriter};
use gleaner::vector::{Effort, VectorPart, VectorWriter, exact, recall, scan, score_rows};
use gleaner_fuzz::{Cut, METRICS, bytes, check_found, damage_word, fill, filter, part, path, query, some};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let rows = input.int_in_range(0..=40u32)?;
    let dimensions = input.int_in_range(1..=300u32)?;
    let metric = input.int_in_range(1..=3u32)?;
    let stride = dimensions.next_multiple_of(64);
    let storage = input.int_in_range(0..=2u32)?;
    let value = [4, 2, 0][storage as usize];
    let mut header = [rows, dimensions, metric | storage << 16, stride];
    damage_word(input, &mut header)?;
    let sketched: bool = input.arbitrary()?;
    let cut = Cut::choose(input, if sketched { 6 } else { 4 })?;
    let k = input.int_in_range(0..=50usize)?;
    let (asked, allowed) = (some(input, 40)?, some(input, 5)?);
    let len = |row: u32| (rows * row) as usize;
    let mut sections = vec![
        (1, bytes(header)),
        (4, fill(some(input, 300)?, len(12))),
        (3, fill(some(input, 700)?, len(stride))),
        (2, fill(some(input, 700)?, len(dimensions * value))),
    ];
    if sketched {
        let codes = ((dimensions / 2).next_multiple_of(4).clamp(16, 48) - 1).min(dimensions) + 1;
        let axes = dimensions.min(2 * (codes - 1));
        let model = 21 + dimensions + (dimensions * axes).div_ceil(2) + (codes - 1) * 32;
        sections.push((7, fill(some(input, 700)?, 4 * model as usize)));
        let blocks = rows.div_ceil(64) * 64 * codes.div_ceil(2);
        sections.push((8, fill(some(input, 700)?, blocks as usize)));
    }
    cut.apply(&mut sections);

    let Ok(part) = VectorPart::open(part(PartKind::Vectors, &sections)) else { return Ok(()) };
    let rows = part.rows();
    let (query, allowed) = (query(asked, part.metric(), part.dimensions()), filter(allowed, rows));
    for row in 0..rows {
        part.row(row).expect("its blocks are sound");
    }
    part.row(rows).expect_err("no such row");
    score_rows(&part, &query, &[0, rows, u32::MAX]).expect_err("no such rows");
    for allowed in [None, Some(&allowed)] {
        check_found(&scan(&part, &query, k, Effort::Recall(0.95), allowed).expect("a scan"), rows, k, allowed);
        check_found(&exact(&part, &query, k, allowed).expect("an exact pass"), rows, k, allowed);
        let found = recall(&part, None, &query, k, Effort::Recall(0.95), false, allowed).expect("a recall");
        check_found(&found, rows, k, allowed);
    }
    part.check_codes().expect("its blocks are sound");

    // a merge copies rows as they are
    let merged = path("merged");
    let writer = PartWriter::create(&OsDisk, &merged, PartKind::Vectors).expect("a new part");
    let mut writer = VectorWriter::new(writer, METRICS[0], part.storage(), part.dimensions()).expect("a writer");
    for row in 0..rows {
        if writer.push_from(&part, row).is_err() {
            assert_ne!(part.metric(), METRICS[0], "only another metric is refused");
        }
    }
    writer.push_from(&part, rows).expect_err("no such row");
    writer.finish().expect("the end of the part");
    Ok(())
}
