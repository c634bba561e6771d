//! Ranked windows that clients may still page through, each with the snapshot it was ranked on.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytemuck::{Pod, Zeroable};
use parking_lot::Mutex;

use crate::collection::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::search::Ranked;
use crate::search::response::Status;

/// How long a window is kept after it was ranked.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Windows together hold at most this many ranked chunks (some 80 bytes each).
const KEPT_CHUNKS: usize = 200_000;

/// A ranked window.
#[derive(Debug)]
pub struct Window {
    /// What it was ranked on.
    pub snapshot: Arc<Snapshot>,
    /// Best first.
    pub ranked: Vec<Ranked>,
    /// What the stages did.
    pub status: Status,
}

struct Kept {
    id: u64,
    at: Instant,
    window: Arc<Window>,
}

/// The kept windows, oldest first.
pub struct Windows {
    kept: Mutex<(VecDeque<Kept>, usize)>,
    /// Begins at random in each process: the cursors of an earlier one find nothing.
    last_id: std::sync::atomic::AtomicU64,
}

impl std::fmt::Debug for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Windows").finish_non_exhaustive()
    }
}

impl Default for Windows {
    fn default() -> Self {
        let first = RandomState::new().hash_one("first window");
        Windows { kept: Mutex::default(), last_id: first.into() }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Token {
    window: u64,
    fingerprint: u64,
    offset: u32,
    check: u32,
}

impl Windows {
    /// Keeps a window for its next pages; returns its id.
    pub fn keep(&self, window: Arc<Window>) -> u64 {
        let id = self.last_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut guard = self.kept.lock();
        let (kept, chunks) = &mut *guard;
        *chunks += window.ranked.len();
        kept.push_back(Kept { id, at: Instant::now(), window });
        while let Some(oldest) = kept.front()
            && (oldest.at.elapsed() > KEPT_FOR || kept.len() > 1 && *chunks > KEPT_CHUNKS)
        {
            *chunks -= oldest.window.ranked.len();
            kept.pop_front();
        }
        id
    }

    /// Drops windows that are too old, so that they no longer hold files open.
    pub fn expire(&self) {
        let mut guard = self.kept.lock();
        let (kept, chunks) = &mut *guard;
        while let Some(oldest) = kept.front()
            && oldest.at.elapsed() > KEPT_FOR
        {
            *chunks -= oldest.window.ranked.len();
            kept.pop_front();
        }
    }

    /// A kept window; `cursor_expired` where it is gone.
    pub fn get(&self, id: u64) -> Result<Arc<Window>> {
        self.expire();
        let guard = self.kept.lock();
        let found = guard.0.iter().find(|kept| kept.id == id).map(|kept| Arc::clone(&kept.window));
        found.ok_or_else(|| {
            let message = "the results this cursor continues are gone: run the search again without a cursor";
            Error::new(Code::CursorExpired, message).with_param("cursor")
        })
    }

    /// The cursor of the page that begins at `offset`.
    pub fn cursor(&self, window: u64, offset: usize, fingerprint: u64) -> String {
        let token = Token { window, fingerprint, offset: offset as u32, check: 0 };
        let token = Token { check: check(&token), ..token };
        URL_SAFE_NO_PAD.encode(bytemuck::bytes_of(&token))
    }

    /// Window and offset of a cursor; `invalid_cursor` where it was made for another request or not by gleaner.
    pub fn parse(&self, cursor: &str, fingerprint: u64) -> Result<(u64, usize)> {
        let invalid = |message: &str| Error::new(Code::InvalidCursor, message).with_param("cursor");
        let token = URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| bytemuck::try_pod_read_unaligned::<Token>(&bytes).ok())
            .filter(|token| check(&Token { check: 0, ..*token }) == token.check)
            .ok_or_else(|| {
                invalid("this is not a cursor: send `next_cursor` of the page before, unchanged")
            })?;
        if token.fingerprint != fingerprint {
            let message = "the cursor belongs to another search: only `limit` may change between pages";
            return Err(invalid(message));
        }
        Ok((token.window, token.offset as usize))
    }
}

fn check(token: &Token) -> u32 {
    crc32fast::hash(bytemuck::bytes_of(token))
}
