//! The links that rows bring along from an older graph, and how other rows are added to it.
//!
//! Rows of the [`Ancestor`] keep their links. One that lost neighbours is offered what these were linked to: the delete
//! rule of Singh et al., "FreshDiskANN", <https://arxiv.org/abs/2105.09613>. Every new row walks to the rows
//! near it, as in a graph grown row by row; but no walk meets another new row, so that all walk side by side
//! and their order does not matter. The new rows among themselves are for the [`GraphBuilder`](super::GraphBuilder) to
//! link, which also finds its way where they are far from all known ones.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::Layer;
use super::duplicates::Group;
use super::lists::Lists;
use super::select::{Selector, fill};
use super::walker::{Start, Walker};
use crate::store::Result;
use crate::vector::graph::ancestor::Ancestor;
use crate::vector::graph::links::Links;
use crate::vector::graph::space::Space;

/// What an older graph knows of the distinct rows.
#[derive(Debug)]
pub(super) struct Kept {
    /// Links among the known rows; the others have none.
    pub links: Links,
    known: Vec<u32>,
    /// The distinct rows that it does not know, ascending.
    pub new: Vec<u32>,
}

impl Kept {
    /// What `ancestor` knows, if it is worth it and undamaged; otherwise all rows are new.
    pub fn of(
        ancestor: Option<&Ancestor>,
        space: &Space<'_>,
        distinct: &[u32],
        duplicates: &[Group],
        width: usize,
    ) -> Kept {
        let fits = |ancestor: &&Ancestor| ancestor.width() == width && ancestor.is_worth_it(space.rows());
        let known = |ancestor| {
            let kept = Kept::read(ancestor, space, distinct, duplicates);
            kept.inspect_err(|error| {
                tracing::warn!(%error, "a merged segment's graph is not reused: one is built from nothing");
            })
        };
        let nothing = || Kept {
            links: Links::new(space.rows() as usize, width),
            known: vec![],
            new: distinct.to_vec(),
        };
        ancestor.filter(fits).and_then(|ancestor| known(ancestor).ok()).unwrap_or_else(nothing)
    }

    fn read(ancestor: &Ancestor, space: &Space<'_>, distinct: &[u32], duplicates: &[Group]) -> Result<Kept> {
        let lists = ancestor.links()?;
        // equal rows are one row here, whichever of them the older graph linked like others
        let mut twins: Vec<u32> = (0..space.rows()).collect();
        for Group { representative, others } in duplicates {
            others.iter().for_each(|&other| twins[other as usize] = *representative);
        }
        let now = |row: u32| ancestor.place(row).map(|place| twins[place as usize]);
        let origins = Lists::collect(space.rows(), |add| {
            ancestor.placed().for_each(|(row, place)| add(twins[place as usize], row));
        });
        let (known, new) = distinct.iter().partition(|&&row| !origins.of(row).is_empty());
        let width = ancestor.width();
        let mut links = Links::new(space.rows() as usize, width);
        links.flat_mut().par_chunks_mut(width).zip(0..space.rows()).try_for_each_init(
            || (Selector::default(), Vec::new()),
            |(selector, others), (list, row)| {
                others.clear();
                let mut intact = origins.of(row).len() == 1;
                for &origin in origins.of(row) {
                    for &to in lists.of(origin)? {
                        match now(to) {
                            Some(to) => others.push(to),
                            None => {
                                intact = false;
                                others.extend(lists.of(to)?.iter().filter_map(|&beyond| now(beyond)));
                            }
                        }
                    }
                }
                others.retain(|&to| to != row);
                match intact {
                    true => fill(list, others),
                    false => selector.relink(space, row, others.iter().copied(), list),
                }
                Ok(())
            },
        )?;
        Ok(Kept { links, known, new })
    }

    /// Links every new row to known rows. It leaves the rest out once `cancel` is set.
    pub fn link_new(&self, space: &Space<'_>, cancel: &AtomicBool) -> Layer {
        let width = self.links.width();
        let rows = if self.known.is_empty() { Vec::new() } else { self.new.clone() };
        let mut links = Links::new(rows.len(), width);
        let start = Start::new(space, &self.known);
        let walk = |(walker, selector): &mut (Walker, Selector), (list, &row): (&mut [u32], &u32)| {
            if !cancel.load(Ordering::Relaxed) {
                let found = walker.walk(space, &self.links, &start, row);
                fill(list, &selector.diverse(space, found, width, 0));
            }
        };
        links.flat_mut().par_chunks_mut(width).zip(&rows).for_each_init(Default::default, walk);
        Layer { rows, links }
    }
}
