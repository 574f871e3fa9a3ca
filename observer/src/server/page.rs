//! The page at /: what is observed now, and where the rest is.
//! Every value is escaped, nothing is loaded from elsewhere.

use std::fmt::{self, Write as _};

use crate::targets::{StateCounts, Target};

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

/// The page; `waiting` is why the agent is not ready, if it is not.
pub(super) fn render(targets: &[Target], counts: StateCounts, waiting: Option<&str>) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string does not fail.
    write(&mut page, targets, counts, waiting).ok();
    page
}

fn write(page: &mut String, targets: &[Target], counts: StateCounts, waiting: Option<&str>) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "<main>\n<h1>observer</h1>\n<p class=\"soft\">version {version}</p>")?;
    match waiting {
        None => writeln!(page, "<p>Ready: observing.</p>")?,
        Some(reason) => writeln!(page, "<p>Not ready: {}</p>", Escaped(reason))?,
    }
    writeln!(
        page,
        "<p><a href=\"/metrics\">/metrics</a> · <a href=\"/healthz\">/healthz</a> · \
         <a href=\"/readyz\">/readyz</a></p>\n<h2>Targets</h2>"
    )?;
    let StateCounts { observed, waiting, failed } = counts;
    writeln!(
        page,
        "<p class=\"soft\">{observed} observed, {waiting} waiting for a match, {failed} failed</p>"
    )?;
    if targets.is_empty() {
        return writeln!(page, "<p>No target yet. Name one with --target or targets.select.</p>\n</main>");
    }
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
    writeln!(page, "</table></div>\n</main>")
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
        let page = render(&[target("web-2", 0), target("web-1", 2)], counts, Some("a<b"));
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
        let page = render(&[], StateCounts::default(), None);
        assert!(page.contains("--target") && page.contains("Ready: observing."));
        assert!(!page.contains("<table>"));
    }
}
