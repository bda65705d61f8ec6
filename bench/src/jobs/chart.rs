//! The chart of fairness: percentiles of latencies on a logarithmic scale, drawn by hand.

use super::{Latency, SHARES};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 46.0;
/// Powers of ten, in milliseconds, from the bottom to the top: 0.1 ms to 10 s.
const DECADES: std::ops::RangeInclusive<i32> = -1..=4;
const COLOURS: [&str; 4] = ["#2a78d6", "#1baf7a", "#d9480f", "#6741d9"];
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}.g{stroke:#ddd}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.g{stroke:#444}}";

/// A drawing of named lines, one point a percentile.
pub(super) fn svg(lines: &[(String, Latency)]) -> String {
    let mut parts = vec![format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Latency of a quiet tenant's jobs"><style>{STYLE}</style><text class="t" x="{LEFT}" y="24">From due to begun: a quiet tenant's jobs of 10 ms, 10 workers</text>"#
    )];
    for power in DECADES {
        let (value, at) = (10_f64.powi(power), y(10_f64.powi(power)));
        let label = if value >= 1_000.0 { format!("{} s", value / 1_000.0) } else { format!("{value} ms") };
        parts.push(format!(
            r#"<line class="g" x1="{LEFT}" x2="{}" y1="{at:.1}" y2="{at:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        ));
    }
    for (index, share) in SHARES.iter().enumerate() {
        let label = if *share >= 1.0 { "longest".to_owned() } else { format!("p{:.0}", share * 100.0) };
        parts.push(format!(
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            x(index),
            HEIGHT - BOTTOM + 20.0
        ));
    }
    for (index, ((name, latency), colour)) in lines.iter().zip(COLOURS).enumerate() {
        let points: Vec<String> = latency
            .percentiles_ms
            .iter()
            .enumerate()
            .map(|(index, value)| format!("{:.1},{:.1}", x(index), y(*value)))
            .collect();
        parts.push(format!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"/><text x="{}" y="{:.1}" style="fill:{colour}">{name}</text>"#,
            points.join(" "),
            WIDTH - RIGHT + 10.0,
            // A legend rather than names at the lines' ends, where they would lie over each other.
            TOP + 20.0 * index as f64
        ));
    }
    parts.push("</svg>\n".to_owned());
    parts.concat()
}

fn x(index: usize) -> f64 {
    let step = (WIDTH - LEFT - RIGHT) / (SHARES.len() as f64 - 0.5);
    LEFT + step * (index as f64 + 0.4)
}

fn y(milliseconds: f64) -> f64 {
    let (low, high) = (f64::from(*DECADES.start()), f64::from(*DECADES.end()));
    let share = (milliseconds.log10().clamp(low, high) - low) / (high - low);
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_is_higher() {
        assert!(y(1_000.0) < y(1.0));
        assert!((y(0.1) - (HEIGHT - BOTTOM)).abs() < 1e-9);
        let latency = Latency { percentiles_ms: [1.0, 2.0, 3.0, 4.0, 5.0] };
        let text = svg(&[("alone".to_owned(), latency)]);
        assert!(text.contains("polyline") && text.contains(">alone<") && text.ends_with("</svg>\n"));
    }
}
