//! The routes of a profile as a tree over path segments: one walk finds the most specific route of a path.
//! At each segment, text comes before a glob, a glob before a shape, a shape before a placeholder, and `**` last.

use std::{borrow::Cow, collections::BTreeMap};

use super::shape;
use crate::profiles::{
    Method,
    pattern::{Pattern, Segment, Shape},
};

/// A path's segments, decoded, without empty ones.
pub(super) type Segments<'path> = [Cow<'path, [u8]>];

/// Routes by their patterns.
#[derive(Debug)]
pub(super) struct Tree<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literals: BTreeMap<Box<[u8]>, Node<T>>,
    /// By what a segment starts and ends with.
    globs: BTreeMap<(String, String), Node<T>>,
    shapes: BTreeMap<Shape, Node<T>>,
    any: Option<Box<Node<T>>>,
    /// What ends here.
    here: Leaf<T>,
    /// What ends in `**` here.
    rest: Leaf<T>,
}

/// Values by method; those for one method come before those for any.
#[derive(Debug)]
struct Leaf<T>(Vec<(Option<Method>, T)>);

/// What a path matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Match<T> {
    /// A route for this method.
    Meant(T),
    /// A route that is for other methods only.
    Other(T),
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: BTreeMap::new(),
            globs: BTreeMap::new(),
            shapes: BTreeMap::new(),
            any: None,
            here: Leaf(Vec::new()),
            rest: Leaf(Vec::new()),
        }
    }
}

impl<T> Tree<T> {
    /// Adds a route; of two with the same method and shape, the first counts. The pattern has no choices any more.
    pub(super) fn insert(&mut self, method: Option<Method>, pattern: &Pattern, value: T) {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = node.child(segment);
        }
        let leaf = if pattern.has_rest() { &mut node.rest } else { &mut node.here };
        leaf.0.push((method, value));
        // Stable, so that the first of two equal ones stays the first.
        leaf.0.sort_by_key(|(method, _)| method.is_none());
    }

    /// The most specific route that this path matches. The path decides before the method does: `OPTIONS` on a route
    /// for `POST` is that route's too.
    pub(super) fn find(&self, method: Method, path: &Segments<'_>) -> Option<Match<&T>> {
        self.root.find(method, path)
    }
}

impl<T> Node<T> {
    fn child(&mut self, segment: &Segment) -> &mut Self {
        match segment {
            Segment::Literal(text) => self.literals.entry(text.as_bytes().into()).or_default(),
            Segment::Glob(start, end) => self.globs.entry((start.clone(), end.clone())).or_default(),
            Segment::Shaped(shape) => self.shapes.entry(*shape).or_default(),
            // A choice that was not expanded would be any text; `Router` expands all.
            Segment::Any(_) | Segment::Choice(_) => self.any.get_or_insert_default(),
        }
    }

    fn find(&self, method: Method, path: &Segments<'_>) -> Option<Match<&T>> {
        let Some((first, further)) = path.split_first() else {
            return self.here.get(method).or_else(|| self.rest.get(method));
        };
        let literal = || self.literals.get(first.as_ref())?.find(method, further);
        let glob = || {
            let matching = self.globs.iter().filter(|((start, end), _)| {
                first.len() >= start.len() + end.len()
                    && first.starts_with(start.as_bytes())
                    && first.ends_with(end.as_bytes())
            });
            matching.map(|(_, node)| node).find_map(|node| node.find(method, further))
        };
        let shaped = || {
            let matching = self.shapes.iter().filter(|(shape, _)| shape::has_shape(first, **shape));
            matching.map(|(_, node)| node).find_map(|node| node.find(method, further))
        };
        let any = || self.any.as_ref()?.find(method, further);
        literal().or_else(glob).or_else(shaped).or_else(any).or_else(|| self.rest.get(method))
    }
}

impl<T> Leaf<T> {
    fn get(&self, method: Method) -> Option<Match<&T>> {
        let meant = self.0.iter().find(|(of, _)| of.is_none_or(|of| of == method));
        let other = || self.0.first().map(|(_, value)| Match::Other(value));
        meant.map(|(_, value)| Match::Meant(value)).or_else(other)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::path::segments, *};

    fn tree(routes: &[&str]) -> Tree<usize> {
        let mut tree = Tree::default();
        for (index, route) in routes.iter().enumerate() {
            let (method, path) = route.split_once(' ').unwrap();
            let method = (method != "*").then(|| Method::from_bytes(method.as_bytes()));
            tree.insert(method, &path.parse().unwrap(), index);
        }
        tree
    }

    fn find(tree: &Tree<usize>, method: &str, path: &str) -> Option<Match<usize>> {
        let found = tree.find(Method::from_bytes(method.as_bytes()), &segments(path.as_bytes()))?;
        Some(match found {
            Match::Meant(route) => Match::Meant(*route),
            Match::Other(route) => Match::Other(*route),
        })
    }

    #[test]
    fn the_most_specific_route_is_found_whatever_the_order() {
        let tree = tree(&["* /**", "* /a/{x}", "* /a/{number}", "* /a/b*", "* /a/bc", "* /a/**"]);
        for (path, route) in [
            ("/a/bc", 4),
            ("/a/bd", 3),
            ("/a/7", 2),
            ("/a/x", 1),
            ("/a", 5),
            ("/a/x/y", 5),
            ("/", 0),
            ("/z/z", 0),
        ] {
            assert_eq!(find(&tree, "GET", path), Some(Match::Meant(route)), "{path}");
        }
    }

    #[test]
    fn a_method_of_its_own_comes_before_any_and_the_path_before_both() {
        let tree = tree(&["* /a", "POST /a", "POST /a/c", "PUT /{x}/**"]);
        assert_eq!(find(&tree, "POST", "/a"), Some(Match::Meant(1)));
        assert_eq!(find(&tree, "GET", "/a"), Some(Match::Meant(0)));
        assert_eq!(find(&tree, "PUT", "/a/c"), Some(Match::Other(2)));
        assert_eq!(find(&tree, "PUT", "/a/d"), Some(Match::Meant(3)));
        assert_eq!(find(&tree, "PUT", "/"), None);
    }

    #[test]
    fn of_two_equal_routes_the_first_counts() {
        let tree = tree(&["GET /{a}", "GET /{b}"]);
        assert_eq!(find(&tree, "GET", "/x"), Some(Match::Meant(0)));
    }
}
