//! One request that somebody waits for: a small deadline, few tries, and a second request beside a slow one.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Permit};
use super::{Backoff, Endpoints, Failure, Fault, Reply, Usage};

/// How an urgent request goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Urgent {
    /// After this it is given up.
    pub deadline: Duration,
    /// Times it is sent.
    pub tries: u32,
    /// Waits between those.
    pub backoff: Backoff,
    /// An answer that takes longer is asked for a second time, elsewhere if there is an elsewhere.
    pub hedge: Option<Duration>,
    /// US dollars for a million tokens.
    pub price: f64,
}

/// Sends one request of `tokens` estimated tokens. A failure that is not the request's own leaves the endpoint alone
/// until it answers a probe, so that the next caller does not wait for it again.
pub async fn urgent<T, S, Sent>(
    endpoints: &Endpoints,
    settings: &Urgent,
    tokens: u64,
    send: S,
) -> (Result<T, Failure>, Usage)
where
    S: Fn(Arc<Endpoint>) -> Sent,
    Sent: Future<Output = Result<Reply<T>, Failure>>,
{
    let mut call = Call {
        endpoints,
        settings,
        tokens,
        send,
        end: Instant::now() + settings.deadline,
        usage: Usage::default(),
    };
    let result = call.run().await;
    (result, call.usage)
}

struct Call<'a, S> {
    endpoints: &'a Endpoints,
    settings: &'a Urgent,
    tokens: u64,
    send: S,
    end: Instant,
    usage: Usage,
}

impl<T, S, Sent> Call<'_, S>
where
    S: Fn(Arc<Endpoint>) -> Sent,
    Sent: Future<Output = Result<Reply<T>, Failure>>,
{
    async fn run(&mut self) -> Result<T, Failure> {
        let mut failed: Option<(Failure, Arc<Endpoint>)> = None;
        for attempt in 1.. {
            let avoid = failed.as_ref().map(|(_, endpoint)| endpoint);
            let permit = match self.endpoints.admit_urgent(self.tokens, avoid, self.end).await {
                Ok(permit) => permit,
                Err(failure) => return Err(failed.map_or(failure, |(first, _)| first)),
            };
            let (failure, endpoint) = match self.race(permit).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let wait = failure.wait.unwrap_or_else(|| self.settings.backoff.wait(attempt));
            let again = attempt < self.settings.tries && Instant::now() + wait < self.end;
            match failure.fault {
                Fault::Items => return Err(failure),
                Fault::Limited | Fault::Setup if !again => return Err(failure),
                Fault::Passing | Fault::Answer if !again => {
                    endpoint.trip(&failure);
                    return Err(failure);
                }
                // nothing to wait for: another endpoint takes it, or none
                Fault::Setup => {}
                Fault::Limited | Fault::Passing | Fault::Answer => tokio::time::sleep(wait).await,
            }
            failed = Some((failure, endpoint));
        }
        Err(Failure::new(Fault::Passing, "the request was not sent"))
    }

    /// Sends once; a second time beside the first where that is slow. The first answer counts.
    async fn race(&mut self, permit: Permit) -> Result<T, (Failure, Arc<Endpoint>)> {
        let mut asked = vec![Arc::clone(permit.endpoint())];
        let mut flying = FuturesUnordered::new();
        self.usage.retries += u64::from(self.usage.requests > 0);
        self.usage.requests += 1;
        let send = |permit: Permit| {
            let request = (self.send)(Arc::clone(permit.endpoint()));
            async move { (permit, request.await) }
        };
        flying.push(send(permit));
        let mut hedge_at = self.settings.hedge.map(|hedge| Instant::now() + hedge);
        loop {
            let hedge = hedge_at.unwrap_or(self.end);
            tokio::select! {
                biased;
                Some((permit, result)) = flying.next() => match result {
                    Ok(reply) => {
                        let tokens = permit.answered(reply.tokens, &reply.limits);
                        self.usage.tokens += tokens;
                        self.usage.cost_usd += tokens as f64 * self.settings.price / 1e6;
                        return Ok(reply.value);
                    }
                    Err(failure) => {
                        let endpoint = Arc::clone(permit.endpoint());
                        permit.failed(&failure);
                        if flying.is_empty() {
                            return Err((failure, endpoint));
                        }
                    }
                },
                () = tokio::time::sleep_until(hedge), if hedge_at.is_some() && hedge < self.end => {
                    hedge_at = None;
                    let second = self.endpoints.admit_urgent(self.tokens, asked.first(), Instant::now()).await;
                    if let Ok(second) = second {
                        asked.push(Arc::clone(second.endpoint()));
                        self.usage.requests += 1;
                        self.usage.retries += 1;
                        flying.push(send(second));
                    }
                }
                () = tokio::time::sleep_until(self.end) => {
                    let milliseconds = self.settings.deadline.as_millis();
                    let message = format!("the provider did not answer within {milliseconds} ms");
                    let failure = Failure::new(Fault::Passing, message);
                    asked.iter().for_each(|endpoint| endpoint.trip(&failure));
                    // the deadline is over: `run` does not try again
                    return Err((failure, asked.swap_remove(0)));
                }
            }
        }
    }
}
