//! What is known of walks of a graph: how far they must go, and what they read.

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// With this many candidates.
    Ef(usize),
    /// Until it may be expected to find this share of ten neighbours.
    Recall(f32),
}

impl Effort {
    /// How many standard deviations lower than the truth a sketch's estimate may be before its row is passed over.
    pub(in crate::vector) fn deviations(self) -> f32 {
        let target = match self {
            Effort::Ef(_) => SURE,
            Effort::Recall(target) => target.min(SURE),
        };
        // the tail of a normal distribution shrinks like exp(-z² / 2)
        (-2.0 * (TAIL * (1.0 - target)).ln()).max(0.0).sqrt()
    }
}

/// The share of neighbours that a scan finds at least where more is asked for, or no share.
const SURE: f32 = 0.9995;

/// How much more of the tail than the missed share may be passed over: neighbours that lie above the last one by more than
/// the error are found anyway. With this, three fifths or less of what targets allow was missed on sets of 60,000 to 400,000 rows
/// (`benches/README.md`).
const TAIL: f32 = 17.0;

/// What a walk reads of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// The upper half. Candidates are ranked by whole codes afterwards.
    Halves,
    /// All of it: where rows are so near each other that halves do not tell them apart.
    Whole,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// What walks read of a code.
    pub(super) precision: Precision,
    /// Values of `ef`, ascending, with the recall of ten neighbours at each; at least one.
    pub(super) recalls: Vec<(u32, f32)>,
}

/// A graph is not walked where walks with many candidates have less recall.
const LEAST_RECALL: f32 = 0.5;

/// The share of what a target allows to be missed that may be missed by the queries of the measurement: with
/// a third, questions reach the target even where each row has nine near copies, which are easier to find.
const MISSED: f32 = 0.33;

impl Calibration {
    /// The `ef` that finds `target` of ten neighbours, as far as the measurement tells: less may be missed
    /// here, since real queries differ from those it was made with.
    pub fn ef(&self, target: f32) -> usize {
        ef_for(&self.recalls, 1.0 - MISSED * (1.0 - target)).ceil() as usize
    }

    /// Whether walks with many candidates find neighbours at all. They do not where codes do not tell rows apart.
    pub fn finds_neighbours(&self) -> bool {
        self.recalls.iter().any(|&(_, recall)| recall >= LEAST_RECALL)
    }
}

/// Interpolated between the measured values; past the last one, it grows as much as what is missed must shrink, or doubles.
pub(super) fn ef_for(recalls: &[(u32, f32)], target: f32) -> f32 {
    let mut before = None;
    for &(ef, recall) in recalls {
        let ef = ef as f32;
        match before {
            None if recall >= target => return ef,
            Some((lower_ef, lower)) if recall >= target => {
                return lower_ef + (target - lower) / (recall - lower) * (ef - lower_ef);
            }
            _ => before = Some((ef, recall)),
        }
    }
    before.map_or(1.0, |(last, recall)| last * ((1.0 - recall) / (1.0 - target)).max(2.0))
}
