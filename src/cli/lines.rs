//! Log lines for machines: one flat JSON object each, with the fields of the event and of every span around it. The
//! formatter of tracing-subscriber nests spans in a list, so that a filter by `request_id` has to know how deep it is.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as flat JSON; needs spans that [`JsonFields`] formats.
pub(super) struct FlatJson;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    target: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S> FormatEvent<S, JsonFields> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        let mut add = |json: &str| fields.extend(serde_json::from_str::<Map<String, Value>>(json).unwrap_or_default());
        // From the outermost span to the innermost: of two fields with one name, the one nearest to the event counts.
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
                add(of_span);
            }
        }
        let mut of_event = String::new();
        context.format_fields(Writer::new(&mut of_event), event)?;
        add(&of_event);
        // A field must not replace a member of the line itself.
        for name in ["timestamp", "level", "target"] {
            fields.remove(name);
        }
        let metadata = event.metadata();
        let timestamp = format!("{:.3}", Timestamp::now());
        let line = Line { timestamp, level: metadata.level().as_str(), target: metadata.target(), fields };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_flat_object_in_which_the_nearest_field_counts() {
        let kept = Kept::default();
        let lines = tracing_subscriber::fmt().fmt_fields(JsonFields::new()).event_format(FlatJson);
        tracing::subscriber::with_default(lines.with_writer(kept.clone()).finish(), || {
            let request =
                tracing::info_span!("request", request_id = "r-1", attempt = 1, caller = tracing::field::Empty);
            request.record("caller", "web");
            let _inside = request.entered();
            let _step = tracing::info_span!("step", attempt = 2).entered();
            tracing::info!(target: "audit", elapsed_ms = 12_u64, level = "x", quoted = "a \"b\"\n", "step taken");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!((text.matches('\n').count(), text.ends_with('\n')), (1, true), "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let at = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(at.as_str().unwrap().parse::<Timestamp>().is_ok(), "{at}");
        let expected = serde_json::json!({
            "level": "INFO", "target": "audit", "message": "step taken", "request_id": "r-1", "caller": "web",
            "attempt": 2, "elapsed_ms": 12, "quoted": "a \"b\"\n",
        });
        assert_eq!(line, expected);
    }
}
