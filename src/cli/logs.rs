//! Settings of the log: filter and format.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::lines::FlatJson;
use super::traces::Traces;

/// How the service logs.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// Which lines to log, as level or target=level[,…]; the AWS SDK and HTTP internals stay at warn, because their
    /// finer levels show whole requests [default: info, for commands on containers warn]
    #[arg(long, env = "PROVISIONER_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// One JSON object a line for machines, or text for people
    #[arg(long, env = "PROVISIONER_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One JSON object a line
    Json,
    /// Text
    Text,
}

/// Crates whose debug and trace lines hold request bodies, and so could hold secrets.
const QUIET: [&str; 7] =
    ["aws_config", "aws_runtime", "aws_sigv4", "aws_smithy_http_client", "aws_smithy_runtime", "hyper", "hyper_util"];

/// The audit log, which is always written, whatever the filter says: who changed what.
const AUDIT: &str = "audit=info";

impl LogArgs {
    /// Starts logging to standard error, and the export of traces if the environment asks for it.
    pub(super) fn start(&self, default: LogFormat) -> anyhow::Result<Traces> {
        self.start_at(default, "info")
    }

    /// As [`Self::start`], with this filter if none is set.
    pub(super) fn start_at(&self, default: LogFormat, filter: &str) -> anyhow::Result<Traces> {
        let filter = EnvFilter::try_new(self.log.as_deref().unwrap_or(filter))?;
        let mut filter = filter.add_directive(AUDIT.parse()?);
        for target in QUIET {
            filter = filter.add_directive(format!("{target}=warn").parse()?);
        }
        // An explicit with_ansi ignores NO_COLOR.
        let no_color_is_unset = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal() && no_color_is_unset);
        let traces = Traces::from_environment()?;
        let exported = tracing_subscriber::registry().with(traces.layer());
        match self.log_format.unwrap_or(default) {
            LogFormat::Json => {
                let lines = lines.with_ansi(false).fmt_fields(JsonFields::new()).event_format(FlatJson);
                exported.with(lines.with_filter(filter)).try_init()?;
            }
            LogFormat::Text => {
                exported.with(lines.compact().with_target(false).with_filter(filter)).try_init()?;
            }
        }
        Ok(traces)
    }
}
