//! The table of a comparison: each figure as the driver knows it, as the observer shows it, and whether they agree.
//! Counts agree to the unit, times within a tolerance of their own.

use std::fmt;

/// One figure from both sides.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    what: String,
    driver: f64,
    observer: f64,
    tolerance: f64,
}

/// All figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison(Vec<Row>);

impl Comparison {
    /// Adds a count, which must be equal to the unit.
    pub fn count(&mut self, what: String, driver: f64, observer: f64) {
        // Whole numbers below 2^53, which f64 holds exactly.
        self.0.push(Row { what, driver, observer, tolerance: 0.5 });
    }

    /// Adds a time, or a sum of times, in seconds.
    pub fn time(&mut self, what: String, driver: f64, observer: f64, tolerance: f64) {
        self.0.push(Row { what, driver, observer, tolerance });
    }

    /// Whether every figure is the same on both sides; an empty comparison has shown nothing.
    pub fn equal(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(Row::equal)
    }
}

impl Row {
    fn equal(&self) -> bool {
        (self.driver - self.observer).abs() < self.tolerance
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<78} {:>14} {:>14}", "", "driver", "observer")?;
        for row in &self.0 {
            let mark = if row.equal() { "" } else { "  differs" };
            writeln!(formatter, "{:<78} {:>14.3} {:>14.3}{mark}", row.what, row.driver, row.observer)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_is_a_difference_and_nothing_shows_nothing() {
        let mut comparison = Comparison::default();
        assert!(!comparison.equal());
        comparison.count("streams".to_owned(), 3.0, 3.0);
        comparison.time("seconds".to_owned(), 3.0, 3.04, 0.05);
        assert!(comparison.equal(), "{comparison}");
        comparison.count("chunks".to_owned(), 3.0, 4.0);
        assert!(!comparison.equal());
        assert_eq!(comparison.to_string().matches("differs").count(), 1);
    }
}
