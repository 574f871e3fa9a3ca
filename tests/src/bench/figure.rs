//! A figure: how it is declared, what was measured for it, and whether it keeps its budget.
//! Its value is the median of its runs.

use serde::Serialize;

/// What a figure may be at most, or must be at least, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// More is too much.
    AtMost(f64),
    /// Less is too little.
    AtLeast(f64),
}

impl Budget {
    /// The bound itself.
    pub fn bound(self) -> f64 {
        let (Self::AtMost(bound) | Self::AtLeast(bound)) = self;
        bound
    }

    /// Whether `value` keeps it.
    pub fn is_kept_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// The declaration of a figure.
#[derive(Debug)]
pub struct Figure {
    /// Its name on the command line and in the output.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Its budget, if it has one.
    pub budget: Option<Budget>,
    /// What was measured, in one sentence.
    pub about: &'static str,
}

impl Figure {
    /// What was measured for it: one value per run.
    pub fn measured(&'static self, runs: Vec<f64>) -> Measured {
        Measured { figure: self, runs }
    }
}

/// A figure with the values of its runs.
#[derive(Debug)]
pub struct Measured {
    /// Which figure.
    pub figure: &'static Figure,
    /// One value per run, in the order in which they were made.
    pub runs: Vec<f64>,
}

/// The line of JSON of a figure.
#[derive(Serialize)]
struct Line<'m> {
    figure: &'static str,
    value: f64,
    unit: &'static str,
    budget: Option<f64>,
    ok: Option<bool>,
    runs: &'m [f64],
}

impl Measured {
    /// The median of the runs.
    pub fn value(&self) -> f64 {
        median(&self.runs)
    }

    /// Whether the budget is kept; none where there is no budget.
    pub fn is_ok(&self) -> Option<bool> {
        self.figure.budget.map(|budget| budget.is_kept_by(self.value()))
    }

    /// The figure as one line of JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        let Figure { name, unit, budget, .. } = self.figure;
        let budget = budget.map(Budget::bound);
        let line =
            Line { figure: name, value: self.value(), unit, budget, ok: self.is_ok(), runs: &self.runs };
        serde_json::to_string(&line)
    }
}

/// The middle of `values`, the mean of both middles of an even number; not a number where there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(lower), Some(upper)) if sorted.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (_, Some(value)) => *value,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RATIO: Figure = Figure {
        name: "ratio",
        unit: "ratio",
        budget: Some(Budget::AtLeast(0.97)),
        about: "With over without.",
    };
    static FREE: Figure = Figure { budget: None, ..RATIO };

    #[test]
    fn the_value_is_the_median_whatever_the_order() {
        assert!((median(&[9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[5.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_line_says_value_budget_and_runs() {
        assert_eq!(
            RATIO.measured(vec![0.5, 1.5, 1.0]).json().unwrap(),
            r#"{"figure":"ratio","value":1.0,"unit":"ratio","budget":0.97,"ok":true,"runs":[0.5,1.5,1.0]}"#
        );
        assert_eq!(
            FREE.measured(vec![0.5]).json().unwrap(),
            r#"{"figure":"ratio","value":0.5,"unit":"ratio","budget":null,"ok":null,"runs":[0.5]}"#
        );
    }

    #[test]
    fn a_budget_bounds_from_one_side() {
        assert_eq!(RATIO.measured(vec![0.96]).is_ok(), Some(false));
        assert!(Budget::AtMost(30.0).is_kept_by(30.0));
        assert!(!Budget::AtMost(30.0).is_kept_by(30.1));
    }
}
