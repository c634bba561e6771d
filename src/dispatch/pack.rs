//! Items into requests, up to what a provider takes in one.

use std::collections::VecDeque;

/// The most a provider takes in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Items.
    pub items: usize,
    /// Tokens, all items together.
    pub tokens: u64,
    /// Bytes, all items together.
    pub bytes: usize,
}

/// How large an item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// By estimate.
    pub tokens: u32,
    /// In UTF-8.
    pub bytes: u32,
}

/// Items of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// Positions in the call, as they were given.
    pub items: Vec<usize>,
    /// Of all items.
    pub tokens: u64,
}

/// Takes the next request off the queue; `None` where it is empty. An item that alone is more than a cap goes
/// alone: the provider has the last word on it.
pub(super) fn next(queue: &mut VecDeque<usize>, caps: &Caps, size: impl Fn(usize) -> Size) -> Option<Batch> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    while let Some(&item) = queue.front() {
        let Size { tokens, bytes: more } = size(item);
        let (tokens, more) = (batch.tokens + u64::from(tokens), bytes + more as usize);
        let fits = batch.items.len() < caps.items && tokens <= caps.tokens && more <= caps.bytes;
        if !fits && !batch.items.is_empty() {
            break;
        }
        queue.pop_front();
        batch.items.push(item);
        (batch.tokens, bytes) = (tokens, more);
    }
    (!batch.items.is_empty()).then_some(batch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_is_in_one_request_in_order_and_no_cap_is_passed(
            sizes in prop::collection::vec((0_u32..60, 0_u32..200), 0..200),
            (items, tokens, bytes) in (1_usize..20, 1_u64..100, 1_usize..300),
        ) {
            let caps = Caps { items, tokens, bytes };
            let size = |item: usize| Size { tokens: sizes[item].0, bytes: sizes[item].1 };
            let mut queue: VecDeque<usize> = (0..sizes.len()).collect();
            let mut all = Vec::new();
            let mut last_full = None;
            while let Some(batch) = next(&mut queue, &caps, size) {
                let tokens: u64 = batch.items.iter().map(|&item| u64::from(size(item).tokens)).sum();
                let bytes: usize = batch.items.iter().map(|&item| size(item).bytes as usize).sum();
                prop_assert_eq!(batch.tokens, tokens);
                let within = batch.items.len() <= caps.items && tokens <= caps.tokens && bytes <= caps.bytes;
                prop_assert!(within || batch.items.len() == 1);
                // no request ends while the next item would have fitted
                if let Some((tokens, bytes, count)) = last_full {
                    let first = size(batch.items[0]);
                    prop_assert!(
                        count == caps.items
                            || tokens + u64::from(first.tokens) > caps.tokens
                            || bytes + first.bytes as usize > caps.bytes
                    );
                }
                last_full = Some((tokens, bytes, batch.items.len()));
                all.extend(batch.items);
            }
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
