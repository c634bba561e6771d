//! How far an import is: a bar on a terminal, a line now and then elsewhere, nothing with `--json`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::import::Source;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows bytes of files whose documents are searchable, out of all.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// When the last line was printed; absent: no lines.
    last_line: Option<Mutex<Instant>>,
    quiet: bool,
}

impl Progress {
    /// Of importing `sources`.
    pub fn new(sources: &[Source], quiet: bool) -> Progress {
        let total = sources.iter().map(|source| source.bytes).sum();
        let terminal = std::io::stderr().is_terminal();
        let draw =
            if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total), draw);
        let template = "{bar:30} {bytes}/{total_bytes} · {binary_bytes_per_sec} · {eta} left · {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let last_line = (!quiet && !terminal).then(|| Mutex::new(Instant::now()));
        Progress { bar, started: Instant::now(), last_line, quiet }
    }

    /// So many bytes and documents are searchable.
    pub fn update(&self, bytes: u64, documents: u64) {
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{documents} documents"));
        let Some(mut last) = self.last_line.as_ref().map(Mutex::lock) else { return };
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            let total = self.bar.length().unwrap_or(bytes);
            let rate = bytes as f64 / self.started.elapsed().as_secs_f64();
            let left = match bytes {
                0 => "time left unknown".into(),
                _ => format!("{:.0} s left", total.saturating_sub(bytes) as f64 / rate),
            };
            let (bytes, total, rate) = (HumanBytes(bytes), HumanBytes(total), HumanBytes(rate as u64));
            eprintln!("{bytes} of {total}, {documents} documents, {rate}/s, {left}");
        }
    }

    /// Says something beside the bar.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
