//! Any values, codes, rows and panels for every family of kernels this processor has, in memory of exactly their
//! size, so that a read past an end is found; the results are held against the reference.
#![no_main]

use gleaner::vector::distance::fuzzing;
use gleaner::vector::distance::{LANES, PANEL_HEADER, TILE_ROWS, TileRow};
use gleaner_fuzz::{fill, rarely, some};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    match input.int_in_range(0..=7u8)? {
        0 => values(input),
        1 => codes(input),
        2 => planes(input),
        3 => halves(input),
        4 => int8(input),
        5 => sketches(input),
        6 => pack(input),
        _ => panel(input),
    }
}

fn values(input: &mut Unstructured<'_>) -> Result<()> {
    let len = input.int_in_range(0..=600usize)?;
    let small = input.arbitrary()?;
    let a = floats(input, len, small)?;
    let b = floats(input, len, small)?;
    fuzzing::values(&a, &b);
    Ok(())
}

fn halves(input: &mut Unstructured<'_>) -> Result<()> {
    let len = input.int_in_range(0..=600usize)?;
    let small = input.arbitrary()?;
    let a = floats(input, len, small)?;
    let b = exactly(input, len * 2)?;
    let (words, _) = b.as_chunks::<2>();
    let b: Box<[u16]> = words.iter().map(|&word| u16::from_le_bytes(word)).collect();
    fuzzing::halves(&a, &b);
    Ok(())
}

fn int8(input: &mut Unstructured<'_>) -> Result<()> {
    let len = 64 * input.int_in_range(0..=9usize)?;
    let small = input.arbitrary()?;
    let a = floats(input, len, small)?;
    let row = exactly(input, len)?;
    let scale = floats(input, 1, small)?[0];
    fuzzing::int8(&a, &row, scale);
    Ok(())
}

fn sketches(input: &mut Unstructured<'_>) -> Result<()> {
    let tables: Vec<[u8; 16]> = input.arbitrary()?;
    let right = 64 * tables.len().div_ceil(2).max(1);
    let len = if rarely(input)? { input.int_in_range(0..=right)? } else { right };
    let block = exactly(input, len)?;
    fuzzing::sketches(tables, &block, input.arbitrary()?, input.arbitrary()?..input.arbitrary()?);
    Ok(())
}

fn codes(input: &mut Unstructured<'_>) -> Result<()> {
    let len = input.int_in_range(0..=600usize)?;
    let a = exactly(input, len)?;
    let b = signed(input, len)?;
    fuzzing::codes(&a, &b);
    Ok(())
}

fn planes(input: &mut Unstructured<'_>) -> Result<()> {
    let dimensions = input.int_in_range(0..=300usize)?;
    let rows = input.int_in_range(0..=20usize)?;
    // now and then the codes are too long or too short for the rows
    let off = if rarely(input)? { input.int_in_range(0..=80usize)? } else { 0 };
    let len = rows * dimensions.next_multiple_of(64);
    let codes = if input.arbitrary()? { len + off } else { len.saturating_sub(off) };
    let numbers: Box<[u32]> = exactly(input, rows)?.iter().map(|&row| u32::from(row) % rows as u32).collect();
    let query = signed(input, dimensions)?;
    let codes = exactly(input, codes)?;
    fuzzing::planes(&codes, &numbers, &query);
    Ok(())
}

fn panel(input: &mut Unstructured<'_>) -> Result<()> {
    let groups = input.int_in_range(0..=80usize)?;
    let off = if rarely(input)? { input.int_in_range(1..=20usize)? } else { 0 };
    let words = LANES * (PANEL_HEADER + groups) - off;
    let small = input.arbitrary()?;
    let factors = floats(input, 4 * TILE_ROWS, small)?;
    let rows = lists::<TILE_ROWS>(input, groups * 4)?;
    let header = floats(input, 3 * LANES, small)?;
    let codes = exactly(input, words * 4)?;
    let (chunks, _) = codes.as_chunks::<4>();
    let mut panel: Box<[i32]> = chunks.iter().map(|&word| i32::from_le_bytes(word)).collect();
    if small {
        panel.iter_mut().zip(&header).for_each(|(word, factor)| *word = factor.to_bits() as i32);
    }
    let tile = std::array::from_fn(|row| {
        let [scale, base, extension, below] = [0, 1, 2, 3].map(|factor| factors[row * 4 + factor]);
        TileRow { codes: &rows[row], scale, base, extension, below }
    });
    fuzzing::panel(&tile, &panel);
    Ok(())
}

fn pack(input: &mut Unstructured<'_>) -> Result<()> {
    let groups = input.int_in_range(0..=80usize)?;
    let off = if rarely(input)? { input.int_in_range(0..=20usize)? } else { 0 };
    let rows = lists::<LANES>(input, groups * 4)?;
    fuzzing::pack(&std::array::from_fn(|row| &rows[row][..]), (LANES * groups).saturating_sub(off));
    Ok(())
}

/// So many lists of `len` bytes.
fn lists<const COUNT: usize>(input: &mut Unstructured<'_>, len: usize) -> Result<[Box<[u8]>; COUNT]> {
    let mut lists = std::array::from_fn(|_| Box::default());
    for list in &mut lists {
        *list = exactly(input, len)?;
    }
    Ok(lists)
}

fn exactly(input: &mut Unstructured<'_>, len: usize) -> Result<Box<[u8]>> {
    // a part of the input, so that something is left for what comes next
    let most = input.len().min(len).div_ceil(3);
    Ok(fill(some(input, most)?, len).into_boxed_slice())
}

fn signed(input: &mut Unstructured<'_>, len: usize) -> Result<Box<[i8]>> {
    Ok(exactly(input, len)?.iter().map(|&byte| byte as i8).collect())
}

/// Values of a few units, or any bits.
fn floats(input: &mut Unstructured<'_>, len: usize, small: bool) -> Result<Box<[f32]>> {
    if small {
        return Ok(exactly(input, len)?.iter().map(|&byte| f32::from(byte as i8) / 8.0).collect());
    }
    let bytes = exactly(input, len * 4)?;
    let (words, _) = bytes.as_chunks::<4>();
    Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
}
