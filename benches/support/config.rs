//! How criterion measures: for seconds, or under `WEIR_BENCH_SMOKE` just long enough to show that a benchmark runs.

use std::time::Duration;

use criterion::Criterion;

pub(crate) fn config() -> Criterion {
    let criterion = Criterion::default().without_plots();
    if std::env::var_os("WEIR_BENCH_SMOKE").is_none() {
        return criterion.measurement_time(Duration::from_secs(3));
    }
    criterion
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(100))
}
