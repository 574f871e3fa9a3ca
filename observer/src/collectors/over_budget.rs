//! Shows which targets take more than their share, and of what.
//! It is shown for as long as it goes on and a minute beyond, so that a scrape sees it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Collector, Families, Kind, Metric};
use crate::targets::{TargetId, TargetList, over_budget::OverBudget};

/// How long it is shown after it was last noted.
const SHOWN: Duration = Duration::from_mins(1);

pub(crate) static METRICS: [Metric; 1] = [Metric::of_target(
    "target_over_budget",
    Kind::Gauge,
    &["what"],
    "1 while the target takes more than its share, and loses its own numbers for it; absent where it never did.",
)
.highest()];

/// The gauge of targets that take too much.
pub struct OverBudgetCollector {
    targets: Arc<dyn TargetList>,
    noted: OverBudget,
}

impl OverBudgetCollector {
    /// Shows what was noted of the targets in `targets`.
    pub fn new(targets: Arc<dyn TargetList>, noted: OverBudget) -> Self {
        Self { targets, noted }
    }
}

impl Collector for OverBudgetCollector {
    fn name(&self) -> &'static str {
        "over_budget"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn collect(&self, families: &mut Families) -> anyhow::Result<()> {
        let [over_budget] = &METRICS;
        let targets = self.targets.targets();
        // A copy: a series that is written may be one too many, which is noted.
        let noted = {
            let ids: HashSet<TargetId> = targets.iter().map(|target| target.id).collect();
            let mut noted = self.noted.noted();
            noted.retain(|(id, _), _| ids.contains(id));
            noted.clone()
        };
        for target in targets.iter() {
            for ((_, what), when) in noted.range((target.id, "")..(target.id + 1, "")) {
                let labels = [target.labels.container.as_str(), target.labels.app.as_str(), what];
                let still = when.elapsed() < SHOWN;
                families.value(over_budget, &labels, f64::from(u8::from(still)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::targets::{Info, Labels, Target, fixture::Fixed};

    #[test]
    fn it_is_shown_while_it_lasts_and_then_as_over() {
        let labels = Labels { container: "web".into(), app: String::new() };
        let target = Target { id: 3, labels, info: Info::default(), cgroups: Vec::new(), restarts: 0 };
        let noted = OverBudget::default();
        let collector = OverBudgetCollector::new(Arc::new(Fixed([target].into())), noted.clone());
        let text = || {
            let mut families = Families::new("chat");
            collector.collect(&mut families).unwrap();
            String::from_utf8(families.encode().unwrap()).unwrap()
        };
        assert_eq!(text(), "");
        noted.note(3, "series");
        noted.note(4, "series");
        let line = "chat_target_over_budget{container=\"web\",app=\"\",what=\"series\"}";
        assert!(text().contains(&format!("{line} 1\n")), "{}", text());
        noted.noted().insert((3, "series"), Instant::now().checked_sub(SHOWN).unwrap());
        assert!(text().contains(&format!("{line} 0\n")), "{}", text());
        assert_eq!(noted.noted().len(), 1, "one that is no target any more is forgotten");
    }

    #[test]
    fn a_target_with_too_many_series_is_noted_while_others_are_shown() {
        use crate::collectors::{overflow::LabelOverflow, series_budget::SeriesBudget};

        static METRIC: Metric = Metric::of_target("peers", Kind::Gauge, &["peer"], "Peers.");
        let labels = Labels { container: "web".into(), app: String::new() };
        let target = Target { id: 3, labels, info: Info::default(), cgroups: Vec::new(), restarts: 0 };
        let targets: Arc<dyn TargetList> = Arc::new(Fixed([target].into()));
        let noted = OverBudget::default();
        noted.note(3, "processes");
        let collector = OverBudgetCollector::new(Arc::clone(&targets), noted.clone());
        let budget = SeriesBudget::new(1, targets, LabelOverflow::default(), noted.clone());
        let mut families = Families::new("chat").with_budget(budget);
        for peer in ["a", "b"] {
            families.value(&METRIC, &["web", "", peer], 1.0);
        }
        collector.collect(&mut families).unwrap();
        let text = String::from_utf8(families.encode().unwrap()).unwrap();
        for what in ["processes", "series"] {
            let line = format!("chat_target_over_budget{{container=\"web\",app=\"\",what=\"{what}\"}} 1\n");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
