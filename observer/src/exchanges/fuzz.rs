//! What must hold for the route of any request.
//! Clients choose methods and targets freely; labels are made of them.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use crate::{
    exchanges::routes::{OTHER, Router, UNMATCHED},
    profiles::fuzz::KNOWN,
};

/// Templates that a target may have.
const BUDGET: usize = 8;
/// Of a template by the general rule: six segments of forty bytes, each behind its `/`, and the rest.
const LONGEST: usize = 6 * 41 + 2;

/// Lines of method, target and status: templates are few, plain, without the query, and the same for the same request.
pub fn paths(bytes: &[u8]) {
    let Some(profile) = KNOWN.for_app("") else { panic!("there is no generic profile") };
    let mut router = Router::new(profile, BUDGET);
    let mut templates = std::collections::BTreeSet::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let status = if line.len() % 5 == 0 { 404 } else { 200 };
        let route = router.route(method, target, status);
        let again = router.route(method, target, status);
        assert_eq!((route.id, &route.template), (again.id, &again.template));
        let template = route.template.as_ref();
        assert!(template.len() <= LONGEST, "{template}");
        assert!(template.bytes().all(|byte| byte.is_ascii_graphic()), "{template:?}");
        assert!(!template.contains(['?', '#', '"', '\\']), "{template}");
        if template != OTHER && template != UNMATCHED {
            templates.insert(template.to_owned());
        }
        assert!(templates.len() <= BUDGET, "{templates:?}");
    }
}
