//! Who is let in, for how long, and what a page of another site cannot do.

use tokenweir::edge::console::route;
use tokenweir::edge::http::route::Right;

use super::browser::{Browser, SIGN_IN, encode, field};
use crate::fixture::{Answer, Fixture};

const SUMMARY: &str = "/console/organizations/north/summary";

fn check_headers(path: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.split("; ").any(|held| held == rule), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), value, "{path}: {name}");
    }
}

#[test]
fn nothing_is_shown_without_a_session_and_whoever_signs_in_gets_where_he_wanted() {
    let server = Fixture::populated();
    let mut browser = Browser::new(&server);
    let answer = browser.get(SUMMARY);
    assert_eq!((answer.status, answer.header("location")), (303, &*format!("{SIGN_IN}?next={SUMMARY}")));
    let page = browser.page(&format!("{SIGN_IN}?next={SUMMARY}"));
    assert_eq!(field(&page, "next"), SUMMARY);
    let answer = browser.submit(SIGN_IN, &[("next", SUMMARY), ("key", &server.viewer)]);
    assert_eq!((answer.status, answer.header("location")), (303, SUMMARY), "{answer:?}");
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("weir-session=") && cookie.contains("; HttpOnly"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&server.viewer[..12]), "{cookie}");
    assert!(browser.page(SUMMARY).contains("Organization north"));
    assert_eq!(browser.get(SIGN_IN).header("location"), "/console", "he is there already");
    assert_eq!(browser.get("/console").header("location"), SUMMARY, "the only organization");
}

#[test]
fn behind_a_proxy_that_encrypts_the_cookie_is_bound_to_this_very_host() {
    let server = Fixture::start();
    let mut browser = Browser::new(&server);
    let origin = browser.origin().replace("http://", "https://");
    let headers = [("origin", origin.as_str()), ("x-forwarded-proto", "https")];
    let answer = browser.send("POST", SIGN_IN, &headers, Some(&encode(&[("key", &server.viewer)])));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-weir-session=") && cookie.ends_with("; Secure"), "{cookie}");
    let answer = browser.send("GET", SUMMARY, &[("x-forwarded-proto", "https")], None);
    assert_eq!(answer.status, 200);
    assert_eq!(browser.get(SUMMARY).status, 303, "this cookie counts for nothing in the clear");
}

#[test]
fn keys_that_are_not_known_are_refused_and_counted_with_those_of_the_interface() {
    let server = Fixture::start();
    let mut browser = Browser::new(&server);
    for key in ["", "weir_a_b", "nonsense", &format!("{}x", server.viewer)] {
        let answer = browser.submit(SIGN_IN, &[("key", key)]);
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""), "{key}");
        assert!(answer.text.contains("role=\"alert\""), "{}", answer.text);
        check_headers(SIGN_IN, &answer);
    }
    for _ in 0..100 {
        server.get("/v1/keys", "weir_a_b");
    }
    let answer = browser.submit(SIGN_IN, &[("key", "weir_a_b")]);
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
    Browser::signed_in(&server, &server.viewer).page(SUMMARY);
}

#[test]
fn nobody_is_sent_away_from_the_console() {
    let server = Fixture::start();
    let mut browser = Browser::new(&server);
    for next in
        ["https://evil.example/console", "//evil.example", "/docs", "/console/../docs", "/console\r\nx: y"]
    {
        let answer = browser.submit(SIGN_IN, &[("next", next), ("key", &server.viewer)]);
        assert_eq!(answer.header("location"), "/console", "{next:?}");
        browser.cookie.clear();
    }
}

#[test]
fn whoever_signs_out_is_out_and_so_is_his_cookie() {
    let server = Fixture::start();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let cookie = browser.cookie.clone();
    let answer = browser.submit("/console/sign-out", &[]);
    assert_eq!((answer.status, answer.header("location")), (303, SIGN_IN));
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    browser.cookie = cookie;
    assert_eq!(browser.get(SUMMARY).status, 303);
}

#[test]
fn whoever_signs_in_again_ends_the_session_before_and_gets_another() {
    let server = Fixture::start();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let before = browser.cookie.clone();
    assert_eq!(browser.submit(SIGN_IN, &[("key", &server.admin)]).status, 303);
    assert_ne!(browser.cookie, before);
    assert!(browser.page("/console/organizations").contains("<span class=\"tag\">admin</span>"));
    browser.cookie = before;
    assert_eq!(browser.get(SUMMARY).status, 303);
    browser.cookie = format!("weir-session={}", "0".repeat(64));
    assert_eq!(browser.get(SUMMARY).status, 303, "nobody is let in by a session that he made up");
}

#[test]
fn a_revoked_key_ends_its_sessions_at_once() {
    let server = Fixture::start();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    browser.page(SUMMARY);
    let id = server.viewer.split('_').nth(1).expect("a key names its id");
    server.delete(&format!("/v1/keys/{id}"), &server.operator).expect(204);
    let answer = browser.get(SUMMARY);
    assert_eq!((answer.status, answer.header("location")), (303, &*format!("{SIGN_IN}?next={SUMMARY}")));
}

#[test]
fn a_form_without_the_token_of_its_session_or_from_another_site_changes_nothing() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let mut other = Browser::signed_in(&server, &server.admin);
    let (token, foreign, origin) = (browser.token(), other.token(), browser.origin());
    for form in route::all().filter(|route| route.method == "POST" && route.right != Right::None) {
        let segment = |part| match part {
            "{org}" => "north",
            part if str::starts_with(part, '{') => "x",
            part => part,
        };
        let path = form.path.split('/').map(segment).collect::<Vec<_>>().join("/");
        let bearing = |token: &str| encode(&[("csrf", token)]);
        for (headers, body) in [
            (vec![("origin", origin.as_str())], bearing("")),
            (vec![("origin", origin.as_str())], bearing(&foreign)),
            (vec![("origin", origin.as_str())], bearing(&token[1..])),
            (vec![("origin", "http://evil.example")], bearing(&token)),
            (vec![("origin", "null")], bearing(&token)),
            (vec![("origin", origin.as_str()), ("origin", "http://evil.example")], bearing(&token)),
            (vec![], bearing(&token)),
        ] {
            let answer = browser.send("POST", &path, &headers, Some(&body));
            let is_forbidden = answer.text.contains("<code>forbidden</code>");
            assert!(
                answer.text.contains("<code>foreign_form</code>") || is_forbidden,
                "{path} {headers:?} {answer:?}"
            );
            assert_eq!(answer.status, 403, "{path} {headers:?}");
        }
    }
    let sign_in = encode(&[("key", &server.viewer)]);
    for headers in [vec![("origin", "http://evil.example")], vec![]] {
        let answer = Browser::new(&server).send("POST", SIGN_IN, &headers, Some(&sign_in));
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (403, ""),
            "nobody is signed in by another site"
        );
    }
    browser.page(SUMMARY);
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let server = Fixture::populated();
    let mut admin = Browser::signed_in(&server, &server.admin);
    let mut nobody = Browser::new(&server);
    let pages = route::all().filter(|route| route.method == "GET" && !route.path.ends_with("/live"));
    for page in pages.filter(|route| !route.path.contains("{file}")) {
        let path = page.path.replace("{org}", "north");
        check_headers(&path, &admin.get(&path));
        check_headers(&path, &nobody.get(&path));
    }
    let page = admin.page(SUMMARY);
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onclick"), "{page}");
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "nothing is loaded from elsewhere: {page}"
    );
    let scripts: Vec<_> = page.split("<script").skip(1).collect();
    assert!(scripts.iter().all(|script| script.starts_with(" src=\"/console/assets/")), "{scripts:?}");
}

#[test]
fn files_are_found_by_their_hash_alone_and_are_kept() {
    let server = Fixture::start();
    let page = Browser::new(&server).page(SIGN_IN);
    let files: Vec<_> = page.split('"').filter(|part| part.starts_with("/console/assets/")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let answer = server.get(file, "");
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("cache-control").contains("immutable"), "{file}");
        let tag = answer.header("etag").to_owned();
        let again = server.call_with(("GET", file), "", &[("if-none-match", &tag)], None);
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{file}");
        assert_eq!(server.get(&file.replace('.', ".0"), "").status, 404);
    }
}

#[test]
fn a_server_without_the_console_has_nothing_there() {
    let server = Fixture::start_with(|config| config.console = false);
    for path in ["/console", SIGN_IN, SUMMARY] {
        server.get(path, &server.admin).check_problem(404, "not_found");
    }
}

#[test]
fn while_the_meter_is_being_opened_a_page_says_so() {
    let server = Fixture::bound(|_| {});
    let answer = Browser::new(&server).get(SUMMARY);
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert!(answer.text.contains("The server is starting"), "{answer:?}");
}
