//! Progress of a rollout while the command waits for it: a bar on a terminal, and plain lines elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::api::Api;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    told: String,
}

impl Progress {
    /// A bar on a terminal; with `--json` nothing is printed.
    pub(super) fn new(api: &Api) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}").ok();
        let is_drawn = std::io::stderr().is_terminal() && !api.is_json();
        let bar = style.filter(|_| is_drawn).map(|style| ProgressBar::new(0).with_style(style));
        Self { bar, told: String::new() }
    }

    pub(super) fn tell(&mut self, api: &Api, rollout: &Value) {
        let progress = &rollout["progress"];
        let number = |name: &str| progress["users"][name].as_u64().unwrap_or(0);
        let through = number("done") + number("failed") + number("skipped");
        match &self.bar {
            Some(bar) => {
                bar.set_length(number("all"));
                bar.set_position(through);
                bar.set_message(with_pace(progress));
            }
            None => {
                let line = format!("{through} of {} users are through, {}", number("all"), words(progress));
                api.tell(&line, &mut self.told);
            }
        }
    }

    /// Removes the bar, before the answer is printed.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The progress without the numbers that change every second.
fn words(progress: &Value) -> String {
    let mut parts = vec![format!("{} failed", progress["users"]["failed"].as_u64().unwrap_or(0))];
    if let Some(wave) = progress["wave"].as_u64() {
        parts.push(if wave == 0 { "canaries".to_owned() } else { format!("wave {wave}") });
    }
    if let Some(what) = progress["waits_for"].as_str() {
        let opens = progress["goes_on_at"].as_str().map_or_else(String::new, |at| format!(", which opens at {at}"));
        parts.push(format!("waits for {what}{opens}"));
    }
    parts.join(", ")
}

fn with_pace(progress: &Value) -> String {
    let mut text = words(progress);
    if let Some(rate) = progress["users_per_minute"].as_f64() {
        text.push_str(&format!(", {rate} a minute"));
    }
    if let Some(seconds) = progress["ends_in_seconds"].as_u64() {
        text.push_str(&format!(", about {} min left", seconds.div_ceil(60)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_it_waits_for_and_a_bar_also_the_pace() {
        let progress = json!({
            "users": {"all": 10, "failed": 1}, "wave": 2, "waits_for": "window", "goes_on_at": "2026-11-27T22:00:00Z",
            "users_per_minute": 1.5, "ends_in_seconds": 61,
        });
        let line = "1 failed, wave 2, waits for window, which opens at 2026-11-27T22:00:00Z";
        assert_eq!(words(&progress), line);
        assert_eq!(with_pace(&progress), format!("{line}, 1.5 a minute, about 2 min left"));
        assert_eq!(words(&json!({"users": {}, "wave": 0})), "0 failed, canaries");
    }
}
