//! Many items, in as few requests as their provider takes and as fast as it lets us.
//!
//! What a failure means for the items of its request: refused for too much, they are packed anew. A passing failure
//! repeats the request after a wait. One that does not pass, and one that the items are to blame for, halves the
//! request, again and again, until the item at fault is alone: it fails with its reason, the others do not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Permit};
use super::pack::{self, Batch, Caps, Size};
use super::{Backoff, Endpoints, Failure, Fault, Reply, Usage};
use crate::runtime::Stop;

/// How bulk work goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The most the provider takes in a request.
    pub caps: Caps,
    /// Times a request is sent before it is halved.
    pub tries: u32,
    /// Waits between those.
    pub backoff: Backoff,
    /// How long it waits for endpoints that are down.
    pub patience: Duration,
    /// US dollars for a million tokens.
    pub price: f64,
    /// What it may cost in US dollars: what would cost more is not sent.
    pub max_cost: Option<f64>,
}

/// Times an item is sent that comes back without a usable value.
const SLIPS: u8 = 3;
/// Tries of a half: enough to pass over a slip.
const TRIES_OF_HALVES: u32 = 2;
/// Where nothing ever succeeded and so many items were refused alone, it is not the items.
const REFUSED_ALONE: usize = 16;
/// A request has at most this share of a minute's tokens.
const SHARE_OF_MINUTE: u64 = 20;
/// The longest without a success while the provider says 429.
const LONGEST_STORM: Duration = Duration::from_secs(600);
/// How long requests under way may still be answered after a stop: they are paid for.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Items that go together, and what became of them so far.
struct Job {
    batch: Batch,
    failures: u32,
    due: Instant,
    /// The request it is half of.
    parent: Option<usize>,
}

/// What is still to be done.
struct Work<'a, D> {
    settings: &'a Bulk,
    caps: Caps,
    /// Items that are packed into the next requests.
    queue: VecDeque<usize>,
    /// Requests that failed, and halves of them.
    again: VecDeque<Job>,
    sent: Vec<bool>,
    slips: HashMap<usize, u8>,
    /// Halved requests: their tokens, and how many halves succeeded.
    halved: Vec<(u64, u8)>,
    refused_alone: usize,
    /// Estimated tokens of requests under way.
    flying_tokens: u64,
    succeeded: bool,
    last_success: Instant,
    usage: Usage,
    done: D,
}

/// Sends `count` items, of which `size` knows the sizes, to `endpoints`. `send` makes one request of some of them and
/// brings a value, or what is wrong with it, for each. `done` hears of every item exactly once; after a `stop` nothing
/// more is sent, and it hears only of what requests under way still bring.
pub async fn bulk<T, S, Sent>(
    endpoints: &Endpoints,
    settings: &Bulk,
    count: usize,
    size: impl Fn(usize) -> Size,
    send: S,
    done: impl FnMut(usize, Result<T, Failure>),
    stop: &Stop,
) -> Usage
where
    S: Fn(Arc<Endpoint>, Vec<usize>) -> Sent,
    Sent: Future<Output = Result<Reply<Vec<Result<T, String>>>, Failure>>,
{
    let mut work = Work::new(settings, endpoints, count, done);
    let mut flying = FuturesUnordered::new();
    let mut next: Option<Job> = None;
    let mut stopped = std::pin::pin!(stop.stopped());
    // after a stop: when the last answers must be there
    let mut end: Option<Instant> = None;
    loop {
        next = next.or_else(|| work.next(&size)).filter(|_| end.is_none());
        let (tokens, due) = (next.as_ref().map_or(0, |job| job.batch.tokens), end.or(work.next_due()));
        if next.is_none() && flying.is_empty() && (due.is_none() || end.is_some()) {
            return work.usage;
        }
        tokio::select! {
            biased;
            Some((job, permit, result)) = flying.next() => work.settle(job, permit, result, &size),
            () = &mut stopped, if end.is_none() => end = Some(Instant::now() + LAST_ANSWERS),
            admitted = endpoints.admit(tokens, settings.patience), if next.is_some() => {
                match (admitted, next.take()) {
                    (Ok(_), Some(job)) if work.too_expensive(&job) => work.spent(job),
                    (Ok(permit), Some(job)) => {
                        work.count(&job);
                        let request = send(Arc::clone(permit.endpoint()), job.batch.items.clone());
                        flying.push(async move { (job, permit, request.await) });
                    }
                    (Err(failure), job) => work.give_up(job, &failure),
                    (Ok(_), None) => {}
                }
            }
            () = sleep_until(due), if next.is_none() && due.is_some() => {
                if end.is_some() {
                    return work.usage;
                }
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl<'a, D> Work<'a, D> {
    fn new(settings: &'a Bulk, endpoints: &Endpoints, count: usize, done: D) -> Self {
        let mut caps = settings.caps;
        if let Some(limit) = endpoints.tokens_per_minute() {
            caps.tokens = caps.tokens.min((limit / SHARE_OF_MINUTE).max(1));
        }
        Work {
            settings,
            caps,
            queue: (0..count).collect(),
            again: VecDeque::new(),
            sent: vec![false; count],
            slips: HashMap::new(),
            halved: Vec::new(),
            refused_alone: 0,
            flying_tokens: 0,
            succeeded: false,
            last_success: Instant::now(),
            usage: Usage::default(),
            done,
        }
    }

    /// The next request: a failed one whose time has come, or a new one.
    fn next(&mut self, size: impl Fn(usize) -> Size) -> Option<Job> {
        let now = Instant::now();
        if let Some(at) = self.again.iter().position(|job| job.due <= now) {
            return self.again.remove(at);
        }
        let batch = pack::next(&mut self.queue, &self.caps, size)?;
        Some(Job { batch, failures: 0, due: now, parent: None })
    }

    fn next_due(&self) -> Option<Instant> {
        self.again.iter().map(|job| job.due).min()
    }

    /// Whether a request would cost more than may be spent, should those under way cost what they are estimated.
    fn too_expensive(&self, job: &Job) -> bool {
        let expected = (self.flying_tokens + job.batch.tokens) as f64 * self.settings.price / 1e6;
        self.settings.max_cost.is_some_and(|most| self.usage.cost_usd + expected > most)
    }

    /// Nothing more is sent, because it would cost too much.
    fn spent<T>(&mut self, job: Job)
    where
        D: FnMut(usize, Result<T, Failure>),
    {
        let most = self.settings.max_cost.unwrap_or_default();
        let message = format!(
            "the spend cap of {most} USD is reached (usd_cap_per_job): send the document again when it may cost more"
        );
        self.give_up(Some(job), &Failure::new(Fault::Setup, message));
    }

    /// A request is sent.
    fn count(&mut self, job: &Job) {
        self.flying_tokens += job.batch.tokens;
        self.usage.requests += 1;
        self.usage.retries += u64::from(job.batch.items.iter().any(|&item| self.sent[item]));
        for &item in &job.batch.items {
            self.sent[item] = true;
        }
    }

    fn settle<T>(
        &mut self,
        mut job: Job,
        permit: Permit,
        result: Result<Reply<Vec<Result<T, String>>>, Failure>,
        size: impl Fn(usize) -> Size,
    ) where
        D: FnMut(usize, Result<T, Failure>),
    {
        self.flying_tokens -= job.batch.tokens;
        let failure = match result {
            Ok(reply) if reply.value.len() == job.batch.items.len() => {
                let tokens = permit.answered(reply.tokens, &reply.limits);
                self.usage.tokens += tokens;
                self.usage.cost_usd += tokens as f64 * self.settings.price / 1e6;
                return self.answered(&job, reply.value);
            }
            Ok(reply) => {
                let (got, asked) = (reply.value.len(), job.batch.items.len());
                let message = format!("the provider sent {got} values for {asked} texts");
                Failure { limits: Box::new(reply.limits), ..Failure::new(Fault::Answer, message) }
            }
            Err(failure) => failure,
        };
        permit.failed(&failure);
        job.failures += 1;
        let tries = self.settings.tries.max(1);
        match failure.fault {
            Fault::Limited if self.last_success.elapsed() > LONGEST_STORM => {
                self.give_up(Some(job), &failure);
            }
            // another endpoint may take them, or the breaker says that nobody does
            Fault::Limited | Fault::Setup => {
                job.batch.items.into_iter().rev().for_each(|item| self.queue.push_front(item));
            }
            Fault::Passing | Fault::Answer if job.failures < tries => {
                let wait = self.settings.backoff.wait(job.failures);
                job.due = Instant::now() + failure.wait.unwrap_or_default().max(wait);
                self.again.push_back(job);
            }
            Fault::Passing | Fault::Answer | Fault::Items => self.blame(job, &failure, size),
        }
    }

    /// Hands out what a request brought; items without a usable value are packed anew.
    fn answered<T>(&mut self, job: &Job, values: Vec<Result<T, String>>)
    where
        D: FnMut(usize, Result<T, Failure>),
    {
        for (&item, value) in job.batch.items.iter().zip(values) {
            match value {
                Ok(value) => {
                    self.succeeded = true;
                    self.last_success = Instant::now();
                    (self.done)(item, Ok(value));
                }
                Err(message) => {
                    let slips = self.slips.entry(item).or_default();
                    *slips += 1;
                    match *slips {
                        SLIPS.. => (self.done)(item, Err(Failure::new(Fault::Answer, message))),
                        _ => self.queue.push_back(item),
                    }
                }
            }
        }
        // both halves of a refused request succeeded: it was too large
        if let Some((tokens, halves)) = job.parent.and_then(|parent| self.halved.get_mut(parent)) {
            *halves += 1;
            if *halves == 2 {
                self.caps.tokens = self.caps.tokens.min((*tokens * 2 / 3).max(1));
            }
        }
    }

    /// Some item of this request is at fault: fails it where it is alone, halves the request otherwise.
    fn blame<T>(&mut self, mut job: Job, failure: &Failure, size: impl Fn(usize) -> Size)
    where
        D: FnMut(usize, Result<T, Failure>),
    {
        if let [item] = job.batch.items[..] {
            (self.done)(item, Err(failure.clone()));
            self.refused_alone += usize::from(failure.fault == Fault::Items);
            if !self.succeeded && self.refused_alone >= REFUSED_ALONE {
                self.give_up(None, failure);
            }
            return;
        }
        let parent = (failure.fault == Fault::Items).then_some(self.halved.len());
        self.halved.extend(parent.map(|_| (job.batch.tokens, 0)));
        let right = job.batch.items.split_off(job.batch.items.len() / 2);
        for items in [job.batch.items, right] {
            let tokens = items.iter().map(|&item| u64::from(size(item).tokens)).sum();
            let failures = self.settings.tries.saturating_sub(TRIES_OF_HALVES);
            let batch = Batch { items, tokens };
            self.again.push_back(Job { batch, failures, due: Instant::now(), parent });
        }
    }

    /// Nothing that is not under way will be sent.
    fn give_up<T>(&mut self, job: Option<Job>, failure: &Failure)
    where
        D: FnMut(usize, Result<T, Failure>),
    {
        let waiting = job.into_iter().chain(self.again.drain(..)).flat_map(|job| job.batch.items);
        for item in waiting.chain(self.queue.drain(..)) {
            (self.done)(item, Err(failure.clone()));
        }
    }
}
