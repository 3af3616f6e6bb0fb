//! The text format of Prometheus, version 0.0.4, read strictly: what its documentation says and nothing else, plus the
//! promises of histograms that any query relies on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Label names and values, sorted.
pub(crate) type Labels = BTreeMap<String, String>;

/// One series' value.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

/// All series that belong to one name, and what is said of it.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// Reads a document.
///
/// # Errors
/// It is none, or breaks a rule; the message names the line.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Family>> {
    ensure!(text.ends_with('\n'), "the last line has no end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = None;
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let mut read = || -> Result<()> {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').context("no help")?;
                ensure!(is_name(name) && !help.is_empty(), "not a name and its help");
                ensure!(helped.insert(name.to_owned()), "help is given twice");
                ensure!(!families.contains_key(name), "help comes behind the type");
                ensure!(escapes_are_known(help, "\\n"), "an escape that help does not know");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context("no type")?;
                let kinds = ["counter", "gauge", "histogram", "summary", "untyped"];
                ensure!(is_name(name) && kinds.contains(&kind), "not a name and its type");
                let family = Family { kind: kind.to_owned(), samples: Vec::new() };
                ensure!(
                    families.insert(name.to_owned(), family).is_none(),
                    "a type is given twice"
                );
                ensure!(helped.contains(name), "a type without help");
                current = Some(name.to_owned());
            } else {
                ensure!(!line.starts_with('#'), "a comment that is neither HELP nor TYPE");
                let sample = parse_sample(line)?;
                let name = current.clone().context("a sample without a type")?;
                let family = families.get_mut(&name).context("a sample without a family")?;
                ensure!(belongs(&sample, &name, family), "a sample of another family than {name}");
                let series = (sample.name.clone(), sample.labels.clone());
                ensure!(seen.insert(series), "a series is given twice");
                family.samples.push(sample);
            }
            Ok(())
        };
        read().with_context(|| format!("line {line:?}"))?;
    }
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        check_histogram(name, family).with_context(|| name.clone())?;
    }
    Ok(families)
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !text.is_empty() && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether behind each backslash stands another one, or one of these.
fn escapes_are_known(text: &str, known: &str) -> bool {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\\' && !rest.next().is_some_and(|next| known.contains(next) || next == '\\') {
            return false;
        }
    }
    true
}

fn belongs(sample: &Sample, family: &str, of: &Family) -> bool {
    let suffix = sample.name.strip_prefix(family);
    match of.kind.as_str() {
        "histogram" => match suffix {
            Some("_bucket") => sample.labels.contains_key("le"),
            Some("_sum" | "_count") => !sample.labels.contains_key("le"),
            _ => false,
        },
        // The name of a counter is that of its samples, and says by its end what it is.
        "counter" => suffix == Some("") && family.ends_with("_total") && sample.value >= 0.0,
        _ => suffix == Some(""),
    }
}

/// `name{label="value",…} value`; no series of ours has a timestamp.
fn parse_sample(line: &str) -> Result<Sample> {
    let name_end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    ensure!(is_name(name), "{name:?} is no name");
    let mut labels = Labels::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, value) = inside.split_once("=\"").context("no label")?;
            ensure!(is_name(label) && !label.contains(':'), "{label:?} is no label");
            let end = value_end(value).context("a label's value without an end")?;
            ensure!(escapes_are_known(&value[..end], "n\""), "an escape that labels do not know");
            let label = labels.insert(label.to_owned(), value[..end].to_owned());
            ensure!(label.is_none(), "a label is given twice");
            inside = &value[end + 1..];
            inside = inside.strip_prefix(',').unwrap_or(inside);
        }
        rest = &inside[1..];
    }
    let value = rest.strip_prefix(' ').context("no space before the value")?;
    ensure!(!value.contains(' '), "something stands behind the value");
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => number.parse()?,
        _ => bail!("{value:?} is no number"),
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Where the quote stands that ends a label's value.
fn value_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// Buckets are sorted and cumulative, the last is `+Inf` and holds as many as `_count` says; there is a `_sum`.
fn check_histogram(name: &str, family: &Family) -> Result<()> {
    let mut histograms: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        histograms.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in histograms {
        let one = |suffix: &str| {
            let wanted = format!("{name}{suffix}");
            let found = samples.iter().find(|sample| sample.name == wanted);
            found.map(|sample| sample.value).with_context(|| format!("no {wanted} of {labels:?}"))
        };
        let (count, sum) = (one("_count")?, one("_sum")?);
        ensure!(count > 0.0 || sum == 0.0, "a sum of nothing: {labels:?}");
        let buckets = samples.iter().filter(|sample| sample.name.ends_with("_bucket"));
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in buckets {
            let bound = match bucket.labels["le"].as_str() {
                "+Inf" => f64::INFINITY,
                number => number.parse()?,
            };
            ensure!(bound > last.0 && bucket.value >= last.1, "{bucket:?} behind {last:?}");
            last = (bound, bucket.value);
        }
        ensure!(last == (f64::INFINITY, count), "the last bucket is {last:?}, the count {count}");
    }
    Ok(())
}

#[test]
fn what_breaks_a_rule_is_an_error() {
    let fine = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"}\"} 1\na_total 2\n\
                # HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n";
    parse(fine).unwrap();
    for (from, to) in [
        ("a_total counter", "a counter"),
        ("a_total 2\n", "a_total 2"),
        ("a_total 2\n", "a_total 2\n# EOF\n"),
        ("a_total 2\n", "a_total 2\n# UNIT a_total seconds\n"),
        ("a_total 2\n", "a_total 2 17\n"),
        ("a_total 2\n", "a_total 2\na_total 2\n"),
        ("a_total 2\n", "a_total x\n"),
        ("a_total 2\n", "b_total 2\n"),
        ("a_total 2\n", "\n"),
        ("a_total counter", "a_total unknown"),
        ("# HELP a_total A.\n", ""),
        ("\\\"}\"}", "\\q\"}"),
        ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
        ("h_sum 1.5\n", ""),
        ("h_count 2\n", "h_count 3\n"),
    ] {
        let broken = fine.replacen(from, to, 1);
        assert!(parse(&broken).is_err(), "{from:?} became {to:?}:\n{broken}");
    }
    assert!(parse(fine.trim_end()).is_err());
}
