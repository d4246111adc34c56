//! The part of `doctor` that checks the network path to ChatGPT.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;

use crate::doctor::Check;
use crate::domain::with_causes;
use crate::egress::{DEFAULT_URLS, Finding, ProbeUrl, Trust, probe};

/// How long each of DNS, TCP, TLS and HTTP may take.
const PER_STAGE: Duration = Duration::from_secs(5);

/// What to check of the network path to ChatGPT.
#[derive(Debug, Args)]
pub(super) struct EgressArgs {
    /// Check the network path from here to ChatGPT, too; no credentials are sent
    #[arg(long, group = "egress_wanted")]
    egress: bool,
    /// Check only the network path to ChatGPT, without settings, AWS and file system: for a task in the users' subnets
    #[arg(long, group = "egress_wanted", conflicts_with_all = ["offline", "version_file"])]
    egress_only: bool,
    /// URLs to request instead of ChatGPT's sign-in and model endpoint; only https
    #[arg(long, num_args = 1.., requires = "egress_wanted", value_name = "URL")]
    egress_url: Vec<ProbeUrl>,
    /// PEM file of certificate authorities to trust in addition to this machine's, such as a proxy's
    #[arg(long, requires = "egress_wanted", value_name = "FILE")]
    egress_ca_file: Option<PathBuf>,
}

impl EgressArgs {
    /// Whether to check nothing else.
    pub(super) const fn alone(&self) -> bool {
        self.egress_only
    }

    /// One check for each URL, in the order of the URLs.
    pub(super) async fn checks(&self) -> Vec<Check> {
        if !self.egress && !self.egress_only {
            return Vec::new();
        }
        let trust = match Trust::load(self.egress_ca_file.as_deref()) {
            Ok(trust) => trust,
            Err(error) => {
                let fix = "name a PEM file of certificate authorities with --egress-ca-file".to_owned();
                return vec![Check::fail(NAME, "no_trust", with_causes(&error), Some(fix))];
            }
        };
        let defaults = || DEFAULT_URLS.iter().filter_map(|url| url.parse().ok()).collect();
        let urls = if self.egress_url.is_empty() { defaults() } else { self.egress_url.clone() };
        let probes = urls.iter().map(async |url| check(url, &probe(url, &trust, PER_STAGE).await));
        join_all(probes).await
    }
}

const NAME: &str = "egress";

fn check(url: &ProbeUrl, finding: &Finding) -> Check {
    let message = format!("{url}: {finding}");
    match finding.is_good() {
        true => Check { finding: Some(finding.code()), ..Check::pass(NAME, message) },
        false => Check::fail(NAME, finding.code(), message, finding.fix().map(str::to_owned)),
    }
}
