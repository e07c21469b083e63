//! A recorded trace as load: `TIMESTAMP,ContextTokens,GeneratedTokens`, one request a row (the Azure public dataset).
//!
//! The times between rows are kept, divided by the speed. When the run is longer than the trace, it begins again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Arrival, Item, Sequences, Source, own_camera};
use crate::failure::Outcome;
use crate::number::{u64_of, usize_of};

/// A trace that was read.
#[derive(Clone, Debug)]
pub(crate) struct AzureTrace {
    rows: Arc<Vec<(Duration, u32)>>,
}

/// How a trace is spread and sped up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// Organizations.
    pub(crate) organizations: usize,
    /// Cameras of each.
    pub(crate) cameras: u64,
    /// How many times faster than recorded.
    pub(crate) speed: f64,
    /// How long it lasts.
    pub(crate) length: Duration,
}

impl AzureTrace {
    /// Reads a trace.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("the trace {} cannot be read: {error}", path.display()))?;
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let row = parse(line.trim_end());
            rows.push(
                row.ok_or_else(|| format!("line {} of the trace is not a row of it: `{line}`", number + 1))?,
            );
        }
        let first = rows.first().ok_or("the trace has no row")?.0;
        let rows = rows.into_iter().map(|(at, tokens)| (at.saturating_sub(first), tokens)).collect();
        Ok(Self { rows: Arc::new(rows) })
    }

    /// The source of one of several producers.
    pub(crate) fn source(&self, spread: Spread, producer: u64, producers: u64) -> Box<dyn Source> {
        let rows = Arc::clone(&self.rows);
        Box::new(Rows {
            rows,
            spread,
            share: (producer, producers),
            next: producer,
            sequences: Sequences::default(),
        })
    }
}

struct Rows {
    rows: Arc<Vec<(Duration, u32)>>,
    spread: Spread,
    share: (u64, u64),
    next: u64,
    sequences: Sequences,
}

impl Source for Rows {
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival> {
        let count = u64_of(self.rows.len());
        let (offset, tokens) = self.rows[usize_of(self.next % count)];
        let lap = self.rows.last()?.0 * u32::try_from(self.next / count).ok()?;
        let at = (lap + offset).div_f64(self.spread.speed);
        if at >= self.spread.length {
            return None;
        }
        let turn = self.next / self.share.1;
        let organizations = u64_of(self.spread.organizations);
        let organization = usize_of(turn % organizations);
        let camera = own_camera(turn / organizations, self.share, self.spread.cameras);
        items.push(Item { camera, seq: self.sequences.take(organization, camera), tokens });
        self.next += self.share.1;
        Some(Arrival { at, organization })
    }
}

fn parse(line: &str) -> Option<(Duration, u32)> {
    let mut fields = line.split(',');
    let time: DateTime = fields.next()?.parse().ok()?;
    let since_epoch = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond();
    let tokens = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some((Duration::from_nanos(u64::try_from(since_epoch).ok()?), tokens.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundled() -> AzureTrace {
        let file = "../data/azure-llm/AzureLLMInferenceTrace_conv.csv";
        AzureTrace::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("the bundled trace")
    }

    #[test]
    fn the_bundled_trace_is_read_whole() {
        let tokens: u64 = bundled().rows.iter().map(|(_, tokens)| u64::from(*tokens)).sum();
        assert_eq!((bundled().rows.len(), tokens), (19_366, 26_450_535));
    }

    #[test]
    fn producers_share_the_rows_and_begin_again_after_the_last() {
        let hour = Duration::from_secs(3_600);
        let spread = Spread { organizations: 3, cameras: 10, speed: 2.0, length: hour };
        let mut sent = 0;
        for producer in 0..2 {
            let (mut source, mut items) = (bundled().source(spread, producer, 2), Vec::new());
            while source.next(&mut items).is_some() {}
            sent += items.len();
        }
        assert!((38_000..=40_000).contains(&sent), "twice as fast is twice as many in an hour: {sent}");
    }
}
