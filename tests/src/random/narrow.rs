//! From a batch that differs to as little as still does: fewer conversations, one of them, its first turns, one turn; and
//! which kinds differ alone. Each try has an agent of its own.

use std::{
    fmt::Write as _,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    compare::Comparison,
    conversation::Mix,
    kinds::Kinds,
    run::{Batch, Stage, Variant},
};

/// Conversations of each kind alone.
const OF_A_KIND: u64 = 50;

/// How often conversations are played that may differ: some faults are a matter of luck.
const TRIES: u32 = 3;

/// A search.
struct Search {
    variant: Variant,
    until: Instant,
    tries: u32,
}

/// What was found, in words, with the command that shows it again; takes not much longer than `limit`.
pub fn narrow(variant: Variant, mix: Mix, batch: &Batch, limit: Duration) -> Result<String> {
    let mut search = Search { variant, until: Instant::now() + limit, tries: TRIES };
    let mut text = format!("{variant}, conversations {:?}:\n{}\n", batch.numbers, batch.comparison);
    let Some(again) = search.differs(mix, batch.numbers.clone())? else {
        writeln!(text, "played to {TRIES} other agents they are equal")?;
        return Ok(text);
    };
    // What differs at once will always do so.
    if search.differs_at_once(mix, batch.numbers.clone())? {
        search.tries = 1;
    }
    let (numbers, found) = search.fewer(mix, batch.numbers.clone(), again)?;
    let (mix, found) = if numbers.end - numbers.start == 1 {
        search.shorter(mix, numbers.start, found)?
    } else {
        (mix, found)
    };
    writeln!(text, "as little as was found to differ: {}\n{found}", command(variant, mix, &numbers))?;
    if numbers.end - numbers.start == 1 {
        let conversation = mix.conversation(numbers.start);
        writeln!(text, "  cut {:?}, {:?}", conversation.client.cut, conversation.server.cut)?;
        for turn in conversation.turns {
            writeln!(text, "  {turn}")?;
        }
    }
    let alone = search.alone(mix)?;
    if alone.is_empty() {
        writeln!(text, "no kind differs alone; together do: {}", search.together(mix)?)?;
    } else {
        writeln!(text, "kinds that differ alone: {}", alone.join(", "))?;
    }
    Ok(text)
}

/// What makes these conversations again.
fn command(variant: Variant, mix: Mix, numbers: &Range<u64>) -> String {
    let mut command = format!(
        "cargo xtask random --seed {} -- --variant {variant} --kinds {} --first {} --connections {}",
        mix.seed,
        mix.kinds,
        numbers.start,
        numbers.end - numbers.start
    );
    if mix.turns.0 > 0 {
        let _ = write!(command, " --skip {}", mix.turns.0);
    }
    if mix.turns.1 < usize::MAX {
        let _ = write!(command, " --turns {}", mix.turns.1);
    }
    command
}

impl Search {
    /// Whether these conversations differ, and there was time to see it.
    fn differs(&self, mix: Mix, numbers: Range<u64>) -> Result<Option<Comparison>> {
        for _ in 0..self.tries {
            if Instant::now() > self.until {
                break;
            }
            let comparison = self.compare(mix, numbers.clone())?;
            if !comparison.is_equal() {
                return Ok(Some(comparison));
            }
        }
        Ok(None)
    }

    fn differs_at_once(&self, mix: Mix, numbers: Range<u64>) -> Result<bool> {
        Ok(!self.compare(mix, numbers)?.is_equal())
    }

    fn compare(&self, mix: Mix, numbers: Range<u64>) -> Result<Comparison> {
        let stage = Stage::new(self.variant)?;
        let comparison = stage.batch(mix, numbers)?.comparison;
        stage.end()?;
        Ok(comparison)
    }

    /// Halves of these conversations, as long as one of both differs.
    fn fewer(
        &self,
        mix: Mix,
        mut numbers: Range<u64>,
        mut found: Comparison,
    ) -> Result<(Range<u64>, Comparison)> {
        'halves: while numbers.end - numbers.start > 1 {
            let middle = numbers.start.midpoint(numbers.end);
            for half in [numbers.start..middle, middle..numbers.end] {
                if let Some(comparison) = self.differs(mix, half.clone())? {
                    (numbers, found) = (half, comparison);
                    continue 'halves;
                }
            }
            break;
        }
        Ok((numbers, found))
    }

    /// The fewest first turns of a conversation that differ, and of them the last alone, where that does.
    fn shorter(&self, mix: Mix, number: u64, mut found: Comparison) -> Result<(Mix, Comparison)> {
        let (mut equal, mut different) = (0, mix.conversation(number).turns.len());
        while equal + 1 < different {
            let middle = usize::midpoint(equal, different);
            match self.differs(Mix { turns: (0, middle), ..mix }, number..number + 1)? {
                Some(comparison) => (different, found) = (middle, comparison),
                None => equal = middle,
            }
        }
        let first = Mix { turns: (0, different), ..mix };
        let last = Mix { turns: (different - 1, different), ..mix };
        Ok(match self.differs(last, number..number + 1)? {
            Some(comparison) => (last, comparison),
            None => (first, found),
        })
    }

    /// Names of the kinds that differ when there is nothing else.
    fn alone(&self, mix: Mix) -> Result<Vec<&'static str>> {
        let mut names = Vec::new();
        for (kind, kinds) in mix.kinds.each() {
            if self.differs(Mix::new(mix.seed, kinds), 0..OF_A_KIND)?.is_some() {
                names.push(kind.name());
            }
        }
        Ok(names)
    }

    /// As few kinds as differ together: each is taken away if the others differ without it.
    fn together(&self, mix: Mix) -> Result<Kinds> {
        let mut fewest = mix.kinds;
        for (kind, _) in mix.kinds.each() {
            let fewer = fewest.without(kind);
            if fewer.each().next().is_some()
                && self.differs(Mix::new(mix.seed, fewer), 0..OF_A_KIND)?.is_some()
            {
                fewest = fewer;
            }
        }
        Ok(fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_all_that_makes_the_same_again() {
        let whole = Mix::new(7, "plain,flood=2".parse().unwrap());
        let text = "cargo xtask random --seed 7 -- --variant client-wire --kinds plain=30,flood=2 --first 3 --connections 1";
        let variant: Variant = "client-wire".parse().unwrap();
        assert_eq!(command(variant, whole, &(3..4)), text);
        let turn = Mix { turns: (4, 5), ..whole };
        assert_eq!(command(variant, turn, &(3..4)), format!("{text} --skip 4 --turns 5"));
    }
}
