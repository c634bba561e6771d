//! Bulk and urgent requests against providers in this process, on a clock that the tests move.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::runtime::Stop;

const ALIVE: fn() -> Probe = || Box::new(|| Box::pin(async { Ok(()) }));

fn settings(limits: Limits) -> EndpointSettings {
    EndpointSettings { name: "test".into(), limits, max_in_flight: 32, priority: 0, weight: 1 }
}

fn one(limits: Limits) -> Endpoints {
    Endpoints::new(vec![Endpoint::new(settings(limits), ALIVE())])
}

fn how(items: usize) -> Bulk {
    Bulk {
        caps: Caps { items, tokens: 100_000, bytes: 1 << 20 },
        tries: 5,
        backoff: Backoff::default(),
        patience: Duration::from_secs(60),
        price: 0.0,
        max_cost: None,
    }
}

const fn size(tokens: u32) -> Size {
    Size { tokens, bytes: tokens }
}

type Sent = Result<Reply<Vec<Result<usize, String>>>, Failure>;

/// Sends `count` items and sees to it that every item is heard of once, with its own value; returns the failures.
async fn run<F: Future<Output = Sent>>(
    endpoints: &Endpoints,
    how: &Bulk,
    count: usize,
    tokens: u32,
    send: impl Fn(Vec<usize>) -> F,
) -> (Vec<(usize, Failure)>, Usage) {
    let (mut heard, mut failures) = (HashSet::new(), Vec::new());
    let usage = bulk(
        endpoints,
        how,
        count,
        |_| size(tokens),
        |_, items| send(items),
        |item, result| {
            assert!(heard.insert(item), "item {item} is heard of twice");
            match result {
                Ok(value) => assert_eq!(value, item, "the value of another item"),
                Err(failure) => failures.push((item, failure)),
            }
        },
        &Stop::new(),
    )
    .await;
    assert_eq!(heard.len(), count, "items were lost");
    failures.sort_by_key(|(item, _)| *item);
    (failures, usage)
}

fn well(items: &[usize]) -> Sent {
    Ok(Reply { value: items.iter().map(|&item| Ok(item)).collect(), ..Reply::default() })
}

fn ids(failures: &[(usize, Failure)]) -> Vec<usize> {
    failures.iter().map(|(item, _)| *item).collect()
}

/// How a provider counts.
#[derive(Clone, Copy, Debug)]
enum Meter {
    /// By the minute, from its first request on.
    Minutes,
    /// In any 60 seconds.
    Sliding,
    /// Evenly, with little saved up.
    Even,
}

/// A provider that takes so many requests and tokens a minute and refuses the rest.
struct Metered {
    meter: Meter,
    limits: Limits,
    start: Instant,
    taken: Mutex<Vec<(Instant, u64)>>,
    /// Requests and tokens so far.
    spent: Mutex<(u64, u64)>,
    /// Of requests in the first minute, and after it: all, refused.
    answers: Mutex<[(u64, u64); 2]>,
}

impl Metered {
    fn new(meter: Meter, requests: u64, tokens: u64) -> Self {
        let limits = Limits { requests: Some(requests), tokens: Some(tokens) };
        let start = Instant::now();
        let (taken, spent, answers) = Default::default();
        Metered { meter, limits, start, taken, spent, answers }
    }

    /// None where it takes the request; the wait it asks for where not.
    fn refuses(&self, tokens: u64) -> Option<Duration> {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut taken = self.taken.lock();
        let from = match self.meter {
            Meter::Minutes => self.start + minute * ((now - self.start).as_secs() / 60) as u32,
            Meter::Sliding => now.checked_sub(minute).unwrap_or(self.start),
            Meter::Even => self.start,
        };
        let recent = || taken.iter().rev().take_while(|(at, _)| *at >= from);
        let over = |used: u64, more: u64, limit: Option<u64>| {
            let limit = limit.unwrap_or(u64::MAX) as f64;
            match self.meter {
                Meter::Minutes | Meter::Sliding => (used + more) as f64 > limit,
                // a twentieth of a minute is saved up, and what little came before counts in full
                Meter::Even => {
                    let due = (now - self.start).as_secs_f64() / 60.0 * limit;
                    (used + more) as f64 > due + limit / 20.0
                }
            }
        };
        let (requests, used) = match self.meter {
            Meter::Even => *self.spent.lock(),
            _ => recent().fold((0, 0), |(count, sum), (_, tokens)| (count + 1, sum + tokens)),
        };
        let refused = over(requests, 1, self.limits.requests) || over(used, tokens, self.limits.tokens);
        let slot = usize::from(now - self.start >= minute);
        let mut answers = self.answers.lock();
        answers[slot].0 += 1;
        answers[slot].1 += u64::from(refused);
        if !refused {
            taken.push((now, tokens));
            *self.spent.lock() = (requests + 1, used + tokens);
            return None;
        }
        Some(match self.meter {
            Meter::Minutes => from + minute - now,
            Meter::Sliding | Meter::Even => Duration::from_millis(500),
        })
    }

    async fn answer(&self, items: Vec<usize>, tokens: u64) -> Sent {
        let tokens = tokens * items.len() as u64;
        tokio::time::sleep(Duration::from_millis(120)).await;
        match self.refuses(tokens) {
            Some(wait) => Err(Failure { wait: Some(wait), ..Failure::new(Fault::Limited, "429") }),
            None => Ok(Reply { tokens: Some(tokens), ..well(&items)? }),
        }
    }
}

/// 15,000 chunks under 2,000 requests and 1,000,000 tokens a minute.
async fn drain(meter: Meter, items: usize, tokens: u64, estimated: u32, known: bool) -> (f64, f64) {
    let server = Metered::new(meter, 2000, 1_000_000);
    let endpoints = one(if known { server.limits } else { Limits::default() });
    let (failures, _) =
        run(&endpoints, &how(items), 15_000, estimated, |items| server.answer(items, tokens)).await;
    assert!(failures.is_empty());
    let minutes = server.start.elapsed().as_secs_f64() / 60.0;
    let least = (15_000.0 / items as f64 / 2000.0).max(15_000.0 * tokens as f64 / 1e6);
    let [_, (later, refused)] = *server.answers.lock();
    (minutes / least, refused as f64 / later.max(1) as f64)
}

#[tokio::test(start_paused = true)]
async fn known_limits_are_used_to_the_full_and_not_passed() {
    for meter in [Meter::Minutes, Meter::Sliding, Meter::Even] {
        // one item a request: requests bind; 96: tokens bind, also where they are estimated wrongly
        for (items, tokens, estimated) in [(1, 60, 60), (96, 230, 230), (96, 230, 320), (96, 230, 150)] {
            let (times, refused) = drain(meter, items, tokens, estimated, true).await;
            assert!(times < 1.15, "{meter:?}, {items} items: {times:.3} × the least");
            assert!(refused < 0.01, "{meter:?}, {items} items: {:.2} % refused", 100.0 * refused);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limits_nobody_told_are_learned_from_refusals() {
    for meter in [Meter::Minutes, Meter::Sliding, Meter::Even] {
        for (items, tokens) in [(1, 60), (24, 300), (96, 230)] {
            let (times, refused) = drain(meter, items, tokens, tokens as u32, false).await;
            assert!(times < 1.15, "{meter:?}, {items} items: {times:.3} × the least");
            assert!(refused < 0.01, "{meter:?}, {items} items: {:.2} % refused", 100.0 * refused);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn items_at_fault_fail_alone_with_their_reason() {
    let bad = [3, 4, 77, 200];
    for fault in [Fault::Items, Fault::Passing, Fault::Answer] {
        let send = |items: Vec<usize>| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match items.iter().find(|item| bad.contains(item)) {
                Some(item) => Err(Failure::new(fault, format!("not {item}"))),
                None => well(&items),
            }
        };
        let (failures, usage) = run(&one(Limits::default()), &how(64), 300, 5, send).await;
        assert_eq!(ids(&failures), bad, "{fault:?}");
        assert!(failures.iter().all(|(item, failure)| failure.message == format!("not {item}")));
        assert!(usage.requests < 150, "{fault:?}: {} requests", usage.requests);
        assert!(usage.retries > 0 && usage.retries < usage.requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_good_is_asked_for_again_with_others_and_fails_alone() {
    let asked = Mutex::new([0; 300]);
    let send = |items: Vec<usize>| {
        let value = |&item: &usize| {
            let mut asked = asked.lock();
            asked[item] += 1;
            // one slips once, one always does
            if item == 9 || (item == 5 && asked[item] == 1) { Err("not finite".to_owned()) } else { Ok(item) }
        };
        let value = items.iter().map(value).collect();
        async move { Ok(Reply { value, ..Reply::default() }) }
    };
    let (failures, usage) = run(&one(Limits::default()), &how(64), 300, 5, send).await;
    assert_eq!(ids(&failures), [9]);
    assert_eq!(failures[0].1.message, "not finite");
    assert!(asked.lock().iter().enumerate().all(|(item, &times)| times == 1 || [5, 9].contains(&item)));
    assert!(usage.requests <= 5 + 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_for_too_much_goes_on_in_full_requests() {
    let sizes = Mutex::new(Vec::new());
    let send = |items: Vec<usize>| {
        let refused = {
            let mut sizes = sizes.lock();
            sizes.push(items.len());
            sizes.len() <= 6
        };
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if refused { Err(Failure::new(Fault::Limited, "429")) } else { well(&items) }
        }
    };
    let (failures, _) = run(&one(Limits::default()), &how(50), 500, 5, send).await;
    assert!(failures.is_empty());
    assert!(sizes.lock().iter().all(|&size| size == 50), "{:?}", sizes.lock());
}

#[tokio::test(start_paused = true)]
async fn a_cap_nobody_told_is_found_and_kept() {
    let requests = Mutex::new((0, 0));
    let send = |items: Vec<usize>| {
        let fits = items.len() <= 30;
        let mut requests = requests.lock();
        requests.0 += 1;
        requests.1 += usize::from(!fits);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if fits { well(&items) } else { Err(Failure::new(Fault::Items, "too many tokens")) }
        }
    };
    let (failures, _) = run(&one(Limits::default()), &how(96), 5000, 10, send).await;
    assert!(failures.is_empty());
    let (all, refused) = *requests.lock();
    assert!(refused < all / 5, "{refused} of {all} requests were too large");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_for_a_while_costs_nothing_and_one_that_stays_down_says_why() {
    let start = Instant::now();
    let endpoint = Endpoint::new(
        settings(Limits::default()),
        Box::new(move || {
            Box::pin(async move {
                let back = start.elapsed() > Duration::from_secs(40);
                if back { Ok(()) } else { Err(Failure::new(Fault::Passing, "503")) }
            })
        }),
    );
    let endpoints = Endpoints::new(vec![endpoint]);
    let send = |items: Vec<usize>| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if start.elapsed() > Duration::from_secs(40) {
            well(&items)
        } else {
            Err(Failure::new(Fault::Passing, "503"))
        }
    };
    let (failures, usage) = run(&endpoints, &how(10), 1000, 5, send).await;
    assert!(failures.is_empty());
    assert!(usage.requests < 150, "{} requests", usage.requests);

    let dead = Endpoint::new(
        settings(Limits::default()),
        Box::new(|| Box::pin(async { Err(Failure::new(Fault::Passing, "still down")) })),
    );
    let begun = Instant::now();
    let send = |_| async { Err(Failure::new(Fault::Passing, "no route")) };
    let (failures, usage) = run(&Endpoints::new(vec![dead]), &how(10), 1000, 5, send).await;
    assert_eq!(failures.len(), 1000);
    assert!(failures.iter().all(|(_, failure)| failure.message == "no route"));
    assert!(usage.requests < 20, "{} requests", usage.requests);
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_fails_what_is_left_and_is_not_tried_again_and_again() {
    let sent = Mutex::new(0);
    let send = |items: Vec<usize>| {
        *sent.lock() += 1;
        let revoked = *sent.lock() > 10;
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if revoked { Err(Failure::new(Fault::Setup, "401: revoked")) } else { well(&items) }
        }
    };
    let dead = Endpoint::new(
        settings(Limits::default()),
        Box::new(|| Box::pin(async { Err(Failure::new(Fault::Setup, "401: revoked")) })),
    );
    let (failures, usage) = run(&Endpoints::new(vec![dead]), &how(10), 1000, 5, send).await;
    assert_eq!(failures.len(), 900);
    assert!(failures.iter().all(|(_, failure)| failure.message == "401: revoked"));
    assert!(usage.requests < 10 + 33, "{} requests", usage.requests);
}

#[tokio::test(start_paused = true)]
async fn a_spend_cap_stops_it_between_requests() {
    let send = |items: Vec<usize>| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Reply { tokens: Some(10 * items.len() as u64), ..well(&items)? })
    };
    // a dollar a token: 10 for an item
    let how = Bulk { price: 1e6, max_cost: Some(2055.0), ..how(10) };
    let (failures, usage) = run(&one(Limits::default()), &how, 1000, 10, send).await;
    assert_eq!((failures.len(), usage.tokens, usage.cost_usd), (800, 2000, 2000.0));
    assert!(failures.iter().all(|(_, failure)| failure.message.contains("2055 USD")));
}

fn named(name: &str, priority: u32, weight: u32) -> Arc<Endpoint> {
    let dead: Probe = Box::new(|| Box::pin(async { Err(Failure::new(Fault::Passing, "down")) }));
    Endpoint::new(
        EndpointSettings { name: name.into(), priority, weight, ..settings(Limits::default()) },
        dead,
    )
}

#[tokio::test(start_paused = true)]
async fn endpoints_share_by_weight_and_stand_in_for_each_other_by_priority() {
    let endpoints = Endpoints::new(vec![named("spare", 1, 1), named("a", 0, 3), named("b", 0, 1)]);
    let down = Mutex::new(HashSet::new());
    let asked = Mutex::new(Vec::new());
    let round = async || {
        asked.lock().clear();
        let send = |endpoint: Arc<Endpoint>, items: Vec<usize>| {
            let name = endpoint.settings().name.clone();
            let dead = down.lock().contains(&name);
            asked.lock().push(name);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if dead { Err(Failure::new(Fault::Passing, "down")) } else { well(&items) }
            }
        };
        let mut failed = 0;
        bulk(
            &endpoints,
            &how(10),
            20_000,
            |_| size(5),
            send,
            |_, result: Result<usize, _>| {
                failed += usize::from(result.is_err());
            },
            &Stop::new(),
        )
        .await;
        assert_eq!(failed, 0);
        let asked = asked.lock();
        ["a", "b", "spare"].map(|name| asked.iter().filter(|other| *other == name).count())
    };
    let [a, b, spare] = round().await;
    assert!(spare == 0 && a > 100 && b > 100, "{a} {b} {spare}");
    let count = Mutex::new(HashMap::new());
    for _ in 0..400 {
        let send = |endpoint: Arc<Endpoint>| {
            *count.lock().entry(endpoint.settings().name.clone()).or_insert(0) += 1;
            async { Ok(Reply { value: (), ..Reply::default() }) }
        };
        urgent(&endpoints, &patience(), 5, send).await.0.unwrap();
    }
    assert!((260..340).contains(&count.lock()["a"]), "{:?}", count.lock());
    down.lock().insert("a".to_owned());
    let [a, b, spare] = round().await;
    assert!(spare == 0 && a < 70 && b > 1900, "{a} {b} {spare}");
    down.lock().insert("b".to_owned());
    let [a, b, spare] = round().await;
    assert!(a == 0 && b < 60 && spare >= 2000, "{a} {b} {spare}");
}

fn patience() -> Urgent {
    let backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };
    Urgent { deadline: Duration::from_secs(3), tries: 3, backoff, hedge: None, price: 0.0 }
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_costs_an_urgent_request_its_deadline_once_and_comes_back_by_itself() {
    let start = Instant::now();
    let probe: Probe = Box::new(move || {
        Box::pin(async move {
            let back = start.elapsed() > Duration::from_secs(20);
            if back { Ok(()) } else { Err(Failure::new(Fault::Passing, "down")) }
        })
    });
    let endpoints = Endpoints::new(vec![Endpoint::new(settings(Limits::default()), probe)]);
    let send = |_| async move {
        if start.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        Ok(Reply { value: 7, ..Reply::default() })
    };
    let failure = urgent(&endpoints, &patience(), 5, send).await.0.unwrap_err();
    assert!(failure.message.contains("within 3000 ms"), "{}", failure.message);
    assert_eq!(start.elapsed().as_secs(), 3);
    let begun = Instant::now();
    for _ in 0..100 {
        let failure = urgent(&endpoints, &patience(), 5, send).await.0.unwrap_err();
        assert!(failure.message.contains("within 3000 ms"), "{}", failure.message);
    }
    assert!(begun.elapsed() < Duration::from_millis(1), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(urgent(&endpoints, &patience(), 5, send).await.0.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn an_urgent_request_does_not_wait_behind_bulk_work() {
    let endpoints = one(Limits { requests: Some(60), tokens: None });
    let slow = |items: Vec<usize>| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        well(&items)
    };
    let how = how(1);
    let bulk = run(&endpoints, &how, 100, 5, slow);
    let queries = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let begun = Instant::now();
            let send = |_| async { Ok(Reply { value: (), ..Reply::default() }) };
            urgent(&endpoints, &patience(), 5, send).await.0.unwrap();
            assert!(begun.elapsed() < Duration::from_millis(1));
        }
    };
    let begun = Instant::now();
    tokio::join!(bulk, queries);
    // what queries took is missing for the bulk work
    assert!((105..=125).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_asked_for_twice_and_the_faster_counts() {
    let endpoints = Endpoints::new(vec![named("slow", 0, 1), named("fast", 1, 1)]);
    let send = |endpoint: Arc<Endpoint>| async move {
        let slow = endpoint.settings().name == "slow";
        tokio::time::sleep(Duration::from_millis(if slow { 2000 } else { 50 })).await;
        Ok(Reply { value: slow, ..Reply::default() })
    };
    let begun = Instant::now();
    let hedged = Urgent { hedge: Some(Duration::from_millis(200)), ..patience() };
    let (slow, usage) = urgent(&endpoints, &hedged, 5, send).await;
    assert!(!slow.unwrap() && begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!((usage.requests, usage.retries), (2, 1));
    let (slow, usage) = urgent(&endpoints, &patience(), 5, send).await;
    assert!(slow.unwrap() && usage.requests == 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_is_sent_and_only_answers_under_way_are_waited_for() {
    let (endpoints, stop) = (one(Limits::default()), Stop::new());
    let (sent, mut heard) = (Mutex::new(0_u64), Vec::new());
    let send = |_, items: Vec<usize>| {
        *sent.lock() += 1;
        let takes = Duration::from_secs(if items == [1] { 3600 } else { 2 });
        async move {
            tokio::time::sleep(takes).await;
            well(&items)
        }
    };
    let done = |item, result: Result<usize, Failure>| heard.push((item, result.is_ok()));
    let begun = Instant::now();
    let how = how(1);
    let work = bulk(&endpoints, &how, 1000, |_| size(5), send, done, &stop);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.stop();
        *sent.lock()
    };
    let (usage, before) = tokio::join!(work, stopping);
    assert_eq!((usage.requests, *sent.lock()), (before, before));
    let all_but_one: Vec<_> =
        (0..before as usize).filter(|item| *item != 1).map(|item| (item, true)).collect();
    heard.sort_unstable();
    assert_eq!(heard, all_but_one);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}");
}
