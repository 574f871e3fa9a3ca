//! Each profile against requests of its app, and what must hold for any request.
//! The requests stand in `examples/`, one a line: method, target, status, route, and what the route means.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    profiles::events::{End, Outcome},
    profiles::{Profiles, RouteSpec, pattern::Shape},
};

const BUDGET: usize = 200;

/// Real requests of each app, with the profile that they are asked of.
const EXAMPLES: [(&str, &str); 9] = [
    ("lobechat", include_str!("examples/lobechat.txt")),
    ("anythingllm", include_str!("examples/anythingllm.txt")),
    ("openwebui", include_str!("examples/openwebui.txt")),
    ("librechat", include_str!("examples/librechat.txt")),
    ("litserve", include_str!("examples/litserve.txt")),
    ("ollama", include_str!("examples/ollama.txt")),
    ("vllm", include_str!("examples/vllm.txt")),
    ("litellm", include_str!("examples/litellm.txt")),
    ("generic", include_str!("examples/generic.txt")),
];

fn router(app: &str, budget: usize) -> Router {
    Router::new(Profiles::compiled_in().unwrap().get(app).unwrap(), budget)
}

/// Route and meaning as the examples write them: `/webapi/chat/{provider} stream chat_turn`.
fn shown(route: &Route) -> String {
    let events = route.events.iter().map(|event| event.as_str());
    let words = [route.template.as_ref()].into_iter().chain(route.stream.then_some("stream")).chain(events);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_app_s_requests_have_their_routes() {
    for (app, examples) in EXAMPLES {
        let mut router = router(app, 10_000);
        let lines = examples.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap();
            let (method, target, status, expected) = (word(), word(), word().parse().unwrap(), word());
            // The second answer comes out of the cache.
            for _ in 0..2 {
                let route = router.route(method.as_bytes(), target.as_bytes(), status);
                assert_eq!(shown(&route), expected, "{app}: {line}");
            }
            count += 1;
        }
        assert!(count >= 15, "{app} has only {count} examples");
    }
}

/// A path that a route's pattern matches and no text of another route does.
fn sample(pattern: &Pattern) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => text.clone(),
        Segment::Glob(start, end) => format!("{start}zq{end}"),
        Segment::Choice(_) => unreachable!("choices are expanded"),
        Segment::Any(_) => "zq".to_owned(),
        Segment::Shaped(Shape::Number) => "7".to_owned(),
        Segment::Shaped(Shape::Uuid) => "3f2504e0-4f89-11d3-9a0c-0305e82c3301".to_owned(),
        Segment::Shaped(Shape::Variant) => "zh-CN__0__dark".to_owned(),
    };
    let rest = if pattern.has_rest() { "/zq/zq" } else { "" };
    format!("/{}{rest}", pattern.segments().iter().map(segment).collect::<Vec<_>>().join("/"))
}

#[test]
fn every_route_of_every_profile_is_reached() {
    let profiles = Profiles::compiled_in().unwrap();
    for profile in profiles.iter() {
        let mut router = Router::new(profile, 10_000);
        for RouteSpec { method, path, event, stream, self_calls: _ } in &profile.routes {
            // `PUT` is in no profile, so it reaches routes for any method.
            let method = method.unwrap_or(Method::from_bytes(b"PUT"));
            for pattern in path.expand() {
                let route = router.route(method.as_str().as_bytes(), sample(&pattern).as_bytes(), 200);
                let found = (route.template.as_ref(), route.stream, route.events.first().copied());
                assert_eq!(
                    found,
                    (pattern.template().as_str(), *stream, *event),
                    "{}: {pattern}",
                    profile.name
                );
            }
        }
        for trpc in &profile.trpc {
            for (event, procedures) in &trpc.events {
                for procedure in procedures {
                    let path = match procedure.split_once('/') {
                        Some((router, name)) => format!("/trpc/{router}/{name}"),
                        None => format!("/trpc/lambda/{procedure}"),
                    };
                    let route = router.route(b"POST", path.as_bytes(), 200);
                    assert_eq!(
                        (route.template.as_ref(), route.events.as_ref()),
                        (path.as_str(), &[*event][..])
                    );
                }
            }
        }
    }
}

#[test]
fn every_profile_s_routes_have_room() {
    let profiles = Profiles::compiled_in().unwrap();
    for profile in profiles.iter() {
        let mut router = Router::new(profile, BUDGET);
        for pattern in profile.routes.iter().flat_map(|route| route.path.expand()) {
            let route = router.route(b"GET", sample(&pattern).as_bytes(), 200);
            assert_ne!(&*route.template, OTHER, "{}: {pattern}", profile.name);
        }
    }
}

fn uuid(random: &mut fastrand::Rng) -> String {
    let hex = format!("{:032x}", random.u128(..));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[test]
fn ten_thousand_conversations_are_a_few_routes() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut templates = HashSet::new();
    let mut router = router("generic", BUDGET);
    for _ in 0..10_000 {
        let path = format!("/api/chat/{}", uuid(&mut random));
        templates.insert(router.route(b"GET", path.as_bytes(), 200).template);
    }
    assert_eq!(templates, HashSet::from([Arc::from("/api/chat/{uuid}")]));
}

#[test]
fn ten_thousand_nanoids_are_a_few_routes() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut templates = HashSet::new();
    let mut router = router("generic", BUDGET);
    for _ in 0..10_000 {
        let nanoid: String = (0..21)
            .map(|_| {
                char::from(
                    *random
                        .choice(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
                        .unwrap(),
                )
            })
            .collect();
        templates.insert(router.route(b"GET", format!("/chat/{nanoid}").as_bytes(), 200).template);
    }
    assert!(templates.contains("/chat/{id}") && templates.len() <= 5, "{templates:?}");
}

#[test]
fn ten_thousand_paths_that_do_not_exist_are_one_route_and_take_no_room() {
    let mut random = fastrand::Rng::with_seed(7);
    for (app, _) in EXAMPLES {
        let mut router = router(app, BUDGET);
        for _ in 0..10_000 {
            let word: String = (0..random.usize(1..12)).map(|_| random.lowercase()).collect();
            let path = format!("/zz{word}/{word}.php");
            assert_eq!(&*router.route(b"GET", path.as_bytes(), 404).template, UNMATCHED, "{app}: {path}");
        }
        assert_eq!(&*router.route(b"GET", b"/health", 404).template == UNMATCHED, !lists_health(&mut router));
        assert!(router.ids.len() <= 3, "{app}: {:?}", router.ids);
    }
}

fn lists_health(router: &mut Router) -> bool {
    router.listed(Method::GET, &path::segments(b"/health")).is_some_and(|listed| listed.exact)
}

#[test]
fn past_the_budget_routes_are_other_and_counted_once_each() {
    let overflows = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&overflows);
    let mut router = router("generic", 10).on_overflow(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut templates = HashSet::new();
    for _ in 0..3 {
        for first in b'a'..=b'z' {
            let path = ['/', char::from(first)].iter().collect::<String>();
            templates.insert(router.route(b"GET", path.as_bytes(), 200).template);
        }
    }
    // The profile has more than five routes, so that five are kept for them.
    assert_eq!(templates.len(), 5 + 1);
    assert!(templates.contains(OTHER));
    assert_eq!(overflows.load(Ordering::Relaxed), 26 - 5);
    assert_eq!(&*router.route(b"GET", b"/health", 200).template, "/health");
    assert_eq!(shown(&router.route(b"POST", b"/v1/embeddings", 200)), "/v1/embeddings embedding");
}

#[test]
fn an_event_is_counted_also_where_its_route_finds_no_room() {
    let mut router = router("generic", 0);
    assert_eq!(shown(&router.route(b"POST", b"/v1/embeddings", 200)), "other embedding");
    assert_eq!(shown(&router.route(b"GET", b"/x", 200)), "other");
}

#[test]
fn nothing_of_a_query_or_of_a_value_is_ever_shown() {
    let mut random = fastrand::Rng::with_seed(7);
    let paths: Vec<String> = EXAMPLES
        .iter()
        .flat_map(|(_, examples)| examples.lines())
        .filter_map(|line| Some(line.split(' ').nth(1)?.split('?').next()?.to_owned()))
        .filter(|path| path.starts_with('/') && !path.contains("secret"))
        .collect();
    assert!(paths.len() > 150);
    for (app, _) in EXAMPLES {
        let mut router = router(app, BUDGET);
        for _ in 0..5_000 {
            let mut target = random.choice(&paths).unwrap().clone().into_bytes();
            if random.bool() {
                target.splice(0..0, *b"http://secret.example");
            }
            target.push(*random.choice(b"?#").unwrap());
            target.extend_from_slice(b"secret=");
            target.extend((0..random.usize(..20)).map(|_| random.u8(..)));
            target.extend_from_slice(b"secret/secret");
            let status = *random.choice(&[0, 200, 301, 404, 500]).unwrap();
            let template = router.route(b"GET", &target, status).template;
            assert!(!template.contains("secret") && !template.contains('?'), "{app}: {template}");
        }
    }
}

#[test]
fn any_bytes_have_a_route_of_plain_characters() {
    let mut random = fastrand::Rng::with_seed(7);
    let pieces: [&[u8]; 12] =
        [b"/", b"/", b"/api", b"%", b"%2", b"%2f", b"\xff", b"..", b"a", b"trpc/lambda", b",", b"\0"];
    for app in ["lobechat", "generic"] {
        let mut router = router(app, BUDGET);
        for _ in 0..20_000 {
            let target: Vec<u8> = (0..random.usize(..30))
                .flat_map(|_| random.choice(pieces).unwrap().iter().copied())
                .collect();
            let route = router.route(b"GET", &target, 200);
            assert!(route.template.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", route.template);
            assert!(route.template.len() < 300, "{:?}", route.template);
        }
        assert!(router.ids.len() <= BUDGET + 2);
    }
}

#[test]
fn a_method_without_a_meaning_has_the_route_and_no_event() {
    let mut router = router("lobechat", BUDGET);
    for method in ["OPTIONS", "HEAD", "PROPFIND"] {
        let route = router.route(method.as_bytes(), b"/webapi/chat/openai", 200);
        assert_eq!(shown(&route), "/webapi/chat/{provider}", "{method}");
    }
    let route = router.route(b"OPTIONS", b"/trpc/lambda/topic.createTopic", 204);
    assert_eq!(shown(&route), "/trpc/lambda/{other}");
    assert_eq!(router.route(b"PROPFIND", b"/", 200).method, Method::OTHER);
}

#[test]
fn what_a_file_of_the_operator_s_says_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    let text = "name = \"lobechat\"\nextends = \"lobechat\"\nid_prefixes = [\"note\"]\n[outcomes]\n471 = \"ok\"\n\
                [[routes]]\nmethod = \"POST\"\npath = \"/webapi/{any}/{provider}\"\nevent = \"llm_call\"\n";
    std::fs::write(&file, text).unwrap();
    let profiles = Profiles::load(&[file]).unwrap();
    let mut router = Router::new(profiles.get("lobechat").unwrap(), BUDGET);
    let mut route = |method: &str, path: &str| shown(&router.route(method.as_bytes(), path.as_bytes(), 200));
    assert_eq!(route("POST", "/webapi/chat/openai"), "/webapi/{any}/{provider} llm_call");
    assert_eq!(
        route("POST", "/trpc/lambda/topic.createTopic"),
        "/trpc/lambda/topic.createTopic conversation_created"
    );
    assert_eq!(route("GET", "/x/note_abcdefgh/msg_abcdefgh"), "/x/{id}/{id}");
    assert_eq!(router.outcomes().outcome(Some(471), End::Completed), Outcome::Ok);
    assert_eq!(router.outcomes().outcome(Some(470), End::Completed), Outcome::ServerError);
}
