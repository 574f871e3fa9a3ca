//! The page at /: what is observed now, and where the rest is.
//! Every value is escaped, nothing is loaded from elsewhere.

use std::fmt::{self, Write as _};

use crate::targets::{StateCounts, Target, Waiting};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>observer</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#d5d9e0, #3a404a); --soft: light-dark(#5b6472, #9aa4b2) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.125rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .soft { color: var(--soft) } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .375rem .75rem .375rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600 } .number { text-align: right; font-variant-numeric: tabular-nums }
</style>
"#;

/// Text that is safe inside an element.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => formatter.write_str("&amp;"),
            '<' => formatter.write_str("&lt;"),
            '>' => formatter.write_str("&gt;"),
            '"' => formatter.write_str("&quot;"),
            '\'' => formatter.write_str("&#39;"),
            other => formatter.write_char(other),
        })
    }
}

/// What the page shows.
#[derive(Clone, Copy, Default)]
pub(super) struct View<'v> {
    /// Why the agent is not ready, if it is not.
    pub(super) not_ready: Option<&'v str>,
    /// What is observed.
    pub(super) targets: &'v [Target],
    /// Selectors that match nothing.
    pub(super) waiting: &'v [Waiting],
    /// How many there are of each.
    pub(super) counts: StateCounts,
}

/// The page.
pub(super) fn render(view: View<'_>) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string does not fail.
    write(&mut page, view).ok();
    page
}

fn write(page: &mut String, view: View<'_>) -> fmt::Result {
    let View { not_ready, targets, waiting, counts } = view;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "<main>\n<h1>observer</h1>\n<p class=\"soft\">version {version}</p>")?;
    match not_ready {
        None if targets.is_empty() => writeln!(page, "<p>Ready, and nothing to observe yet.</p>")?,
        None => writeln!(page, "<p>Ready: observing.</p>")?,
        Some(reason) => writeln!(page, "<p>Not ready: {}</p>", Escaped(reason))?,
    }
    writeln!(
        page,
        "<p><a href=\"/metrics\">/metrics</a> · <a href=\"/healthz\">/healthz</a> · \
         <a href=\"/readyz\">/readyz</a></p>\n<h2>Targets</h2>"
    )?;
    let StateCounts { observed, waiting: without_match, failed } = counts;
    writeln!(
        page,
        "<p class=\"soft\">{observed} observed, {without_match} waiting for a match, {failed} failed</p>"
    )?;
    if targets.is_empty() && waiting.is_empty() {
        writeln!(page, "<p>No target yet. Name one with --target or targets.select.</p>")?;
    }
    if !targets.is_empty() {
        write_targets(page, targets)?;
    }
    if !waiting.is_empty() {
        write_waiting(page, waiting)?;
    }
    writeln!(page, "</main>")
}

fn write_waiting(page: &mut String, waiting: &[Waiting]) -> fmt::Result {
    writeln!(page, "<h2>Waiting</h2>\n<p class=\"soft\">observer targets says what it looked at.</p>\n<ul>")?;
    for Waiting { selector, since } in waiting {
        let since = humantime::format_rfc3339_seconds(*since);
        writeln!(page, "<li>{}: nothing matches since {since}</li>", Escaped(selector))?;
    }
    writeln!(page, "</ul>")
}

fn write_targets(page: &mut String, targets: &[Target]) -> fmt::Result {
    writeln!(
        page,
        "<div class=\"scroll\"><table>\n<tr><th>Container</th><th>App</th><th>Image</th>\
         <th class=\"number\">Cgroups</th><th class=\"number\">Restarts</th></tr>"
    )?;
    let mut rows: Vec<_> = targets.iter().collect();
    rows.sort_by_key(|target| &target.labels);
    for Target { labels, info, cgroups, restarts, .. } in rows {
        let cgroups = match cgroups.len() {
            0 => "gone".to_owned(),
            number => number.to_string(),
        };
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{cgroups}</td>\
             <td class=\"number\">{restarts}</td></tr>",
            Escaped(&labels.container),
            Escaped(&labels.app),
            Escaped(&info.image),
        )?;
    }
    writeln!(page, "</table></div>")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::targets::{Cgroup, Info, Labels};

    fn target(container: &str, cgroups: usize) -> Target {
        let cgroup = |number| Cgroup { path: PathBuf::from(format!("/docker/{number}")), id: number as u64 };
        Target {
            id: 1,
            labels: Labels { container: container.to_owned(), app: "lobechat".to_owned() },
            info: Info { image: "<img src=x>&\"'".to_owned(), ..Info::default() },
            cgroups: (0..cgroups).map(cgroup).collect(),
            restarts: 3,
        }
    }

    #[test]
    fn targets_stand_in_order_and_escaped() {
        let counts = StateCounts { observed: 2, waiting: 1, failed: 0 };
        let targets = [target("web-2", 0), target("web-1", 2)];
        let page = render(View { not_ready: Some("a<b"), targets: &targets, counts, waiting: &[] });
        let first = "<tr><td>web-1</td><td>lobechat</td><td>&lt;img src=x&gt;&amp;&quot;&#39;</td>\
                     <td class=\"number\">2</td><td class=\"number\">3</td></tr>\n<tr><td>web-2</td>";
        assert!(page.contains(first), "{page}");
        assert!(page.contains("<td class=\"number\">gone</td>"));
        assert!(page.contains("2 observed, 1 waiting for a match, 0 failed"));
        assert!(page.contains("Not ready: a&lt;b"));
        assert!(!page.contains("<img"));
    }

    #[test]
    fn without_targets_it_says_how_to_name_one() {
        let page = render(View::default());
        assert!(page.contains("--target") && page.contains("Ready, and nothing to observe yet."));
        assert!(!page.contains("<table>"));
    }

    #[test]
    fn what_waits_is_named_with_its_time() {
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let waiting = [Waiting { selector: "container:<web>*".to_owned(), since }];
        let page = render(View { waiting: &waiting, ..View::default() });
        let line = "<li>container:&lt;web&gt;*: nothing matches since 2001-09-09T01:46:40Z</li>";
        assert!(page.contains(line), "{page}");
        assert!(!page.contains("No target yet"), "{page}");
        let targets = [target("web-1", 1)];
        let page = render(View { waiting: &waiting, targets: &targets, ..View::default() });
        assert!(
            page.contains(line) && page.contains("web-1") && page.contains("Ready: observing."),
            "{page}"
        );
    }
}
