//! What a guest reports: lines of fields between tabs, written by `tests::guest`.
//! Lines that are none of these are what its tests say besides.

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    /// Why the kernel refused it; none where it took it.
    pub(super) refused: Option<String>,
    /// What is lost then, or takes its place.
    pub(super) without: String,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) passed: bool,
    /// How much was compared, or what failed.
    pub(super) said: String,
}

/// A guest that came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    /// The kernel's full version.
    pub(super) release: String,
    pub(super) programs: Vec<Program>,
    pub(super) tests: Vec<Test>,
    /// What failing tests say, line by line.
    log: Vec<String>,
}

impl Results {
    /// Reads the output of a guest; none where it broke off.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut results = Self::default();
        let mut ended = false;
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["release", release] => (*release).clone_into(&mut results.release),
                ["program", name, state, why, without] => results.programs.push(Program {
                    name: (*name).to_owned(),
                    refused: (*state != "attached").then(|| (*why).to_owned()),
                    without: (*without).to_owned(),
                }),
                ["test", name, state, _, said] => results.tests.push(Test {
                    name: (*name).to_owned(),
                    passed: *state == "passed",
                    said: (*said).to_owned(),
                }),
                ["log", ..] => results.log.push(line.trim_start_matches("log\t").to_owned()),
                ["end"] => ended = true,
                _ => {}
            }
        }
        (ended && !results.tests.is_empty()).then_some(results)
    }

    /// Whether every test passed.
    pub(super) fn passed(&self) -> bool {
        self.tests.iter().all(|test| test.passed)
    }

    /// What failing tests say.
    pub(super) fn trouble(&self) -> &[String] {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_came_to_its_end_has_results() {
        let text = "release\t5.10.0-46\nprogram\ta\tattached\t\t\nprogram\tb\trefused\tno such call\tless is seen\n\
            said by a test\ntest\tdemo\tpassed\t9\t300 scenarios\nlog\tone\ttwo\ntest\tstreams\tfailed\t1\tone\n";
        assert_eq!(Results::parse(text), None);
        let results = Results::parse(&format!("{text}end\n")).unwrap();
        assert_eq!(results.release, "5.10.0-46");
        assert_eq!(results.programs[0].refused, None);
        assert_eq!(results.programs[1].refused.as_deref(), Some("no such call"));
        assert_eq!(results.tests.iter().map(|test| test.passed).collect::<Vec<_>>(), [true, false]);
        assert_eq!(results.trouble(), ["one\ttwo"]);
        assert!(!results.passed());
    }
}
