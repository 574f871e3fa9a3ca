//! Status codes as label values. They come from the wire, so they are mapped onto a closed set.

use std::fmt;

/// Shows a status code as a label value: three digits, `000` where there was no answer or it is not known, or `other`
/// for what is no status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(pub u16);

impl fmt::Display for StatusCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            status @ (0 | 100..=999) => write!(formatter, "{status:03}"),
            _ => formatter.write_str("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_code_has_three_digits() {
        for (status, label) in
            [(200, "200"), (471, "471"), (999, "999"), (0, "000"), (99, "other"), (1000, "other")]
        {
            assert_eq!(StatusCode(status).to_string(), label);
        }
    }
}
