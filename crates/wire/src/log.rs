//! Logs, only where somebody asked for them: `ARROW_QUANT_LOG` (a level, or `target=level` pairs) when the addon is first used, or a level set by
//! an option. Text, or JSON lines with `ARROW_QUANT_LOG_FORMAT=json`, on stderr.

use aq_core::error::Severity;
use std::sync::OnceLock;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

const FILTER: &str = "ARROW_QUANT_LOG";
const FORMAT: &str = "ARROW_QUANT_LOG_FORMAT";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

static FILTERS: OnceLock<Option<Handle<Targets, Registry>>> = OnceLock::new();

fn install(filter: Targets) -> Option<Handle<Targets, Registry>> {
    let (filter, handle) = reload::Layer::new(filter);
    let writer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if std::env::var(FORMAT).is_ok_and(|f| f == "json") {
        registry.with(writer.json()).try_init()
    } else {
        registry.with(writer).try_init()
    };
    installed.ok().map(|()| handle)
}

/// Levels and pairs of a target and a level, between commas; what is neither is left out: a misspelt filter must not stop a job.
fn filter_of(text: &str) -> Targets {
    let known: Vec<&str> = text.split(',').map(str::trim).filter(|part| part.parse::<Targets>().is_ok()).collect();
    known.join(",").parse().unwrap_or_default()
}

/// Follows the environment, the first time.
pub fn from_environment() {
    FILTERS.get_or_init(|| {
        let text = std::env::var(FILTER).ok().filter(|t| !t.is_empty())?;
        install(filter_of(&text))
    });
}

/// Sets the level of this process; what is no level changes nothing.
pub fn set_level(level: &str) {
    if LEVELS.contains(&level) {
        let filter = || filter_of(level);
        // Nothing is installed for a level of silence.
        let wanted = level != "off" || FILTERS.get().is_some_and(Option::is_some);
        if let Some(handle) = wanted.then(|| FILTERS.get_or_init(|| install(filter()))).and_then(Option::as_ref) {
            let _ = handle.reload(filter()); // fails only where the subscriber is gone
        }
    }
}

/// One failure, logged once, at the boundary, at the level of its severity.
pub(crate) fn failure(severity: Severity, code: &str, kind: &str, phase: &str, errno: Option<&str>, elapsed_ms: u64, message: &str) {
    match severity {
        Severity::Low => tracing::info!(code, kind, phase, errno, elapsed_ms, "{message}"),
        Severity::Medium => tracing::warn!(code, kind, phase, errno, elapsed_ms, "{message}"),
        Severity::High | Severity::Critical => tracing::error!(code, kind, phase, errno, elapsed_ms, "{message}"),
    }
}
