//! A figure beside what is asked of it.

use serde_json::{Value, json};

/// Which side of the limit is the good one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) figure: f64,
    pub(super) unit: &'static str,
    pub(super) limit: Limit,
}

impl Verdict {
    pub(super) fn new(
        what: impl Into<String>,
        figure: f64,
        unit: &'static str,
        limit: Limit,
    ) -> Self {
        Self { what: what.into(), figure, unit, limit }
    }

    /// A figure that is not known meets nothing.
    pub(super) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.figure >= limit,
            Limit::AtMost(limit) => self.figure <= limit,
        }
    }

    pub(super) fn line(&self) -> String {
        let (side, limit) = match self.limit {
            Limit::AtLeast(limit) => ("at least", limit),
            Limit::AtMost(limit) => ("at most", limit),
        };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let Self { what, figure, unit, .. } = self;
        format!("  {what:<52} {figure:>9.2} {unit:<7} {side} {limit:<6} {verdict}\n")
    }

    pub(super) fn json(&self) -> Value {
        let (at_least, at_most) = match self.limit {
            Limit::AtLeast(limit) => (Some(limit), None),
            Limit::AtMost(limit) => (None, Some(limit)),
        };
        json!({
            "what": self.what,
            "figure": Some(self.figure).filter(|figure| figure.is_finite()),
            "unit": self.unit,
            "at_least": at_least,
            "at_most": at_most,
            "met": self.is_met(),
        })
    }
}

/// All of them, one on a line.
pub(super) fn lines(verdicts: &[Verdict]) -> String {
    verdicts.iter().map(Verdict::line).collect()
}

/// All of them, for programs.
pub(super) fn json(verdicts: &[Verdict]) -> Value {
    verdicts.iter().map(Verdict::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_missed() {
        for (figure, limit, met) in [
            (1.0, Limit::AtLeast(1.0), true),
            (0.9, Limit::AtLeast(1.0), false),
            (1.1, Limit::AtMost(1.0), false),
            (f64::NAN, Limit::AtMost(1.0), false),
            (f64::NAN, Limit::AtLeast(1.0), false),
        ] {
            let verdict = Verdict::new("x", figure, "", limit);
            assert_eq!(verdict.is_met(), met, "{verdict:?}");
        }
    }
}
