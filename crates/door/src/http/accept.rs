//! Which of the two formats of metrics a client asks for (`Accept`; RFC 9110, section 12.5.1).
//!
//! OpenMetrics has to be asked for by its name, and preferred to plain text or as good. Everybody else gets the text format
//! of Prometheus: a client that accepts neither is better off with what it can look at than with a refusal.
//!
//! Left out on purpose: commas and semicolons within quoted parameters. No client of metrics sends such.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::MetricsFormat;

/// The format that suits these headers.
pub(crate) fn metrics_format(headers: &HeaderMap) -> MetricsFormat {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    choose(lines.flat_map(|line| line.split(',')))
}

/// Qualities in thousandths: of OpenMetrics, and of plain text by its name, its kind, and as anything.
#[derive(Default)]
struct Wanted {
    open_metrics: Option<u16>,
    plain: Option<u16>,
    any_text: Option<u16>,
    anything: Option<u16>,
}

fn choose<'a>(ranges: impl Iterator<Item = &'a str>) -> MetricsFormat {
    let mut wanted = Wanted::default();
    for range in ranges {
        wanted.add(range);
    }
    let open_metrics = wanted.open_metrics.unwrap_or(0);
    // The most specific range counts.
    let text = wanted.plain.or(wanted.any_text).or(wanted.anything).unwrap_or(0);
    if open_metrics > 0 && open_metrics >= text {
        MetricsFormat::OpenMetrics
    } else {
        MetricsFormat::Prometheus
    }
}

impl Wanted {
    fn add(&mut self, range: &str) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = Some(1000);
        let mut version = None;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = parse_quality(value.trim()),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        let is_of = |known| version.is_none_or(|version| version == known);
        let slot = match media_type.as_str() {
            "application/openmetrics-text" if is_of("1.0.0") => &mut self.open_metrics,
            "text/plain" if is_of("0.0.4") => &mut self.plain,
            "text/*" => &mut self.any_text,
            "*/*" => &mut self.anything,
            _ => return,
        };
        // A range that is malformed is as good as absent; one that is named twice counts with its better quality.
        *slot = (*slot).max(quality);
    }
}

/// `0`, `0.5`, `1.000`: in thousandths.
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok().filter(|_| digits)?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_where_it_is_asked_for() {
        use MetricsFormat::{OpenMetrics, Prometheus};
        for (accept, format) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/plain", Prometheus),
            ("application/json", Prometheus),
            ("application/*", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;version=2.0.0", Prometheus),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=0.000,*/*;q=0", Prometheus),
            ("application/openmetrics-text;q=2", Prometheus),
            ("application/openmetrics-text;q=x,application/openmetrics-text;q=0.1", OpenMetrics),
            ("application/openmetrics-text,text/plain", OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Prometheus),
            ("application/openmetrics-text;q=0.4,text/plain;version=1.0.0;q=0.5", OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/*;q=0.5", Prometheus),
            ("application/openmetrics-text;q=0.4,*/*", Prometheus),
            ("application/openmetrics-text;q=0.4,*/*,text/plain;q=0.3", OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/*,text/plain;q=0.3", OpenMetrics),
        ] {
            assert_eq!(choose(accept.split(',')), format, "{accept}");
        }
    }

    #[test]
    fn qualities() {
        for (text, thousandths) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.", Some(0)),
            ("1.", Some(1000)),
            ("0.5", Some(500)),
            ("0.25", Some(250)),
            ("0.001", Some(1)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.0001", None),
            ("2", None),
            ("-1", None),
            ("0.+5", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(parse_quality(text), thousandths, "{text}");
        }
    }
}
