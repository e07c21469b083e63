//! A report as one page: a table and the latency curve, without a script, a font or an image from elsewhere.

use std::fmt::Write as _;

use super::Report;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 60.0;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1c2733}\
                     table{border-collapse:collapse}td{padding:.15rem 1.2rem .15rem 0;border-bottom:1px solid #e3e8ee}\
                     svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#52606d}";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut rows = String::new();
    for (name, value) in report.rows() {
        write!(rows, "<tr><td>{}</td><td>{}</td></tr>", escape(&name), escape(&value))
            .expect("a string grows");
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>tokenweir load test</title>\
         <style>{STYLE}</style></head><body><h1>tokenweir load test</h1><table>{rows}</table>\
         <h2>latency by percentile</h2>{}</body></html>\n",
        curve(&report.latency.curve)
    )
}

/// The curve: percentiles by the logarithm of what lies above them, latencies by their logarithm.
fn curve(points: &[(f64, f64)]) -> String {
    let below_all = points.iter().filter(|(percentile, _)| *percentile < 100.0);
    let points: Vec<_> = below_all.map(|(percentile, us)| (*percentile, us.max(0.1))).collect();
    let decades = |us: f64| us.log10();
    let lowest = points.iter().map(|(_, us)| decades(*us).floor()).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|(_, us)| decades(*us).ceil()).fold(lowest + 1.0, f64::max);
    let x = |percentile: f64| MARGIN + (2.0 - (100.0 - percentile).log10()) / 5.0 * (WIDTH - 2.0 * MARGIN);
    let y = |us: f64| HEIGHT - MARGIN - (decades(us) - lowest) / (highest - lowest) * (HEIGHT - 2.0 * MARGIN);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"latency by percentile\">");
    let mut line = |x1: f64, y1: f64, x2: f64, y2: f64, label: &str, (lx, ly): (f64, f64)| {
        write!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#e3e8ee\"/>\
             <text x=\"{lx:.1}\" y=\"{ly:.1}\" text-anchor=\"middle\">{label}</text>"
        )
        .expect("a string grows");
    };
    for percentile in [0.0, 90.0, 99.0, 99.9, 99.99, 99.999] {
        let at = x(percentile);
        line(at, MARGIN, at, HEIGHT - MARGIN, &format!("{percentile}%"), (at, HEIGHT - MARGIN + 20.0));
    }
    let mut decade = lowest;
    while decade <= highest {
        let us = 10f64.powf(decade);
        line(MARGIN, y(us), WIDTH - MARGIN, y(us), &told(us), (MARGIN - 28.0, y(us) + 4.0));
        decade += 1.0;
    }
    let path: Vec<_> =
        points.iter().map(|(percentile, us)| format!("{:.1},{:.1}", x(*percentile), y(*us))).collect();
    write!(
        svg,
        "<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\" points=\"{}\"/></svg>",
        path.join(" ")
    )
    .expect("a string grows");
    svg
}

fn told(us: f64) -> String {
    if us >= 1e6 {
        format!("{:.0} s", us / 1e6)
    } else if us >= 1e3 {
        format!("{:.0} ms", us / 1e3)
    } else {
        format!("{us} us")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_within_its_frame() {
        let svg = curve(&[(0.0, 80.0), (50.0, 120.0), (99.0, 900.0), (99.999, 22_000.0), (100.0, 90_000.0)]);
        let points = svg.split("points=\"").nth(1).expect("a line").split('"').next().expect("its points");
        for number in points.split([' ', ',']) {
            let number: f64 = number.parse().expect("a number");
            assert!((0.0..=WIDTH).contains(&number), "{svg}");
        }
        assert!(svg.contains("99.999%") && svg.contains("10 ms"));
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b>&"), "&lt;b&gt;&amp;");
    }
}
