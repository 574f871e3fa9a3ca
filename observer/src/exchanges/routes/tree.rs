//! The routes of a profile as a tree over path segments: one walk finds the most specific route of a path.
//! At each segment, text comes before a glob, a glob before a shape, a shape before a placeholder, and `**` last.

use std::{borrow::Cow, collections::BTreeMap};

use super::shape;
use crate::{
    exchanges::labels::Method,
    profiles::pattern::{Pattern, Segment, Shape},
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

    /// The most specific route that this path matches, for this method or for whichever.
    pub(super) fn find(&self, method: Option<Method>, path: &Segments<'_>) -> Option<&T> {
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

    fn find(&self, method: Option<Method>, path: &Segments<'_>) -> Option<&T> {
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
    fn get(&self, method: Option<Method>) -> Option<&T> {
        let matches = |of: &Option<Method>| of.is_none() || method.is_none() || *of == method;
        self.0.iter().find(|(of, _)| matches(of)).map(|(_, value)| value)
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

    fn find(tree: &Tree<usize>, method: &str, path: &str) -> Option<usize> {
        let method = (method != "*").then(|| Method::from_bytes(method.as_bytes()));
        tree.find(method, &segments(path.as_bytes())).copied()
    }

    #[test]
    fn the_most_specific_route_is_found_whatever_the_order() {
        let tree = tree(&["* /**", "* /a/{x}", "* /a/{number}", "* /a/b*", "* /a/bc", "* /a/**"]);
        for (path, route) in [
            ("/a/bc", Some(4)),
            ("/a/bd", Some(3)),
            ("/a/7", Some(2)),
            ("/a/x", Some(1)),
            ("/a", Some(5)),
            ("/a/x/y", Some(5)),
            ("/", Some(0)),
            ("/z/z", Some(0)),
        ] {
            assert_eq!(find(&tree, "GET", path), route, "{path}");
        }
    }

    #[test]
    fn a_method_of_its_own_comes_before_any_and_others_fall_back() {
        let tree = tree(&["* /a", "POST /a", "GET /{x}/b", "POST /a/c", "PUT /{x}/**"]);
        assert_eq!(find(&tree, "POST", "/a"), Some(1));
        assert_eq!(find(&tree, "GET", "/a"), Some(0));
        assert_eq!(find(&tree, "GET", "/a/b"), Some(2));
        assert_eq!(find(&tree, "PUT", "/a/c"), Some(4));
        assert_eq!(find(&tree, "GET", "/a/c"), None);
        assert_eq!(find(&tree, "*", "/a/c"), Some(3));
    }

    #[test]
    fn of_two_equal_routes_the_first_counts() {
        let tree = tree(&["GET /{a}", "GET /{b}"]);
        assert_eq!(find(&tree, "GET", "/x"), Some(0));
    }
}
