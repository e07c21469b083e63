//! Log lines and metrics of the process, installed once.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogFormat};
use crate::telemetry::cluster::GROUP_BYTES;
use crate::telemetry::metric;

use super::ServeError;

/// How often what the histograms gathered is put together, so that it does not pile up while nobody asks.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

/// Bounds of the buckets of groups of frames, in bytes.
const BYTES: [f64; 8] = [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 14] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// The metrics of the process, kept in order as long as this lives.
#[derive(Debug)]
pub(super) struct Metrics {
    handle: PrometheusHandle,
    _upkeep: Mutex<Sender<()>>,
}

impl Metrics {
    /// Installs the recorder, unless the process has it, and starts its upkeep.
    pub(super) fn install() -> io::Result<Self> {
        let handle = recorder().map_err(io::Error::other)?;
        let (alive, ended) = channel::<()>();
        let upkept = handle.clone();
        let upkeep = move || {
            while ended.recv_timeout(UPKEEP_PERIOD) == Err(RecvTimeoutError::Timeout) {
                upkept.run_upkeep();
            }
        };
        std::thread::Builder::new().name("weir-metrics".to_owned()).spawn(upkeep)?;
        Ok(Self { handle, _upkeep: Mutex::new(alive) })
    }

    /// All metrics as Prometheus text.
    pub(super) fn render(&self) -> String {
        self.handle.render()
    }
}

/// Writes log lines to standard error, as configured. A process that has its own subscriber keeps it.
pub(super) fn log(config: &Config) -> Result<(), ServeError> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| ServeError::Log(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    let kept = match config.log_format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().finish().try_init(),
    };
    if let Err(error) = kept {
        tracing::debug!(%error, "the process logs already");
    }
    Ok(())
}

fn recorder() -> Result<PrometheusHandle, String> {
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let groups = Matcher::Full(GROUP_BYTES.to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
    let builder = builder.and_then(|builder| builder.set_buckets_for_metric(groups, &BYTES));
    let recorder = builder.map_err(|error| error.to_string())?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    metric::describe();
    Ok(INSTALLED.get_or_init(|| handle).clone())
}
