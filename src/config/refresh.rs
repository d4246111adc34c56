//! Keeps the coordinates fresh: SSM is read again every 60 s, and the last good values stay in use while SSM cannot be
//! reached or has invalid values (incident 2: a value was read only once, at start).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::CoordinatesArgs;
use crate::aws::Ssm;
use crate::domain::{Coordinates, with_causes};

/// How often SSM is read again.
const EVERY: Duration = Duration::from_secs(60);

/// The sources of coordinates.
#[derive(Debug, Clone)]
pub struct Source {
    /// The environment.
    pub args: CoordinatesArgs,
    /// SSM.
    pub ssm: Ssm,
}

/// How fresh the coordinates are.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// When they were last read without error.
    pub read_at: Instant,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

impl Source {
    /// Reads the coordinates.
    ///
    /// # Errors
    /// Names the missing settings, or says why SSM did not answer.
    pub async fn read(&self) -> Result<Coordinates, String> {
        let parameters = match self.args.ssm_path() {
            Some(path) => self.ssm.parameters_under(path).await.map_err(|error| with_causes(&error))?,
            None => BTreeMap::new(),
        };
        let parameters = parameters.into_iter().map(|(name, parameter)| (name, parameter.value)).collect();
        self.args.resolve(&parameters).map_err(|error| error.to_string())
    }
}

/// Reads the coordinates repeatedly and publishes changes; ends when nobody listens any more.
///
/// The file system never changes: `efs_root` is the mount of the one that the process started with.
pub async fn refresh(
    source: Source,
    efs_root: PathBuf,
    coordinates: watch::Sender<Coordinates>,
    freshness: watch::Sender<Freshness>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = coordinates.closed() => return,
        }
        let mounted = coordinates.borrow().file_system_id.clone();
        match source.read().await {
            Ok(now) if now.file_system_id != mounted => {
                let error = format!(
                    "file-system-id is {} now, and file system {mounted} is mounted at {}; publish {mounted} again, or mount \
                     {} there and restart",
                    now.file_system_id,
                    efs_root.display(),
                    now.file_system_id,
                );
                tracing::error!(error, "the coordinates name another file system; the last good ones stay in force");
                freshness.send_modify(|freshness| freshness.error = Some(error));
            }
            Ok(now) => {
                let changed = coordinates.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
                if changed {
                    tracing::info!("coordinates changed");
                }
                freshness.send_replace(Freshness { read_at: Instant::now(), error: None });
            }
            Err(error) => {
                tracing::warn!(error, "coordinates could not be read; the last good ones stay in force");
                freshness.send_modify(|freshness| freshness.error = Some(error));
            }
        }
    }
}
