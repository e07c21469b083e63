//! A browser without script: it keeps one cookie, follows where it is sent, and sends the forms that it finds.

use crate::fixture::{Answer, Fixture};

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const SIGN_IN: &str = "/console/sign-in";

/// A browser of somebody.
pub(crate) struct Browser<'a> {
    server: &'a Fixture,
    agent: ureq::Agent,
    pub(super) cookie: String,
}

impl<'a> Browser<'a> {
    /// One that is not signed in.
    pub(super) fn new(server: &'a Fixture) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Self { server, agent, cookie: String::new() }
    }

    /// One that signed in with this key.
    pub(crate) fn signed_in(server: &'a Fixture, key: &str) -> Self {
        let mut browser = Self::new(server);
        let answer = browser.submit(SIGN_IN, &[("key", key)]);
        assert_eq!(answer.status, 303, "{answer:?}");
        browser
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// A page that is there.
    pub(crate) fn page(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/html; charset=utf-8"),
            "{answer:?}"
        );
        answer.text
    }

    /// Sends a form as a page of ours does, with the token of the session if there is one.
    pub(super) fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = if self.cookie.is_empty() { String::new() } else { self.token() };
        let fields: Vec<_> = [("csrf", token.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let origin = self.origin();
        self.send("POST", path, &[("origin", &origin)], Some(&encode(&fields)))
    }

    /// Sends a form and follows to the page that it leads to.
    pub(super) fn carry_out(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.submit(path, fields);
        assert_eq!(answer.status, 303, "{answer:?}");
        let to = answer.header("location").to_owned();
        self.page(&to)
    }

    /// The token that forms of this session bear.
    pub(super) fn token(&mut self) -> String {
        let page = self.send("GET", "/console/organizations", &[("weir-refresh", "1")], None);
        field(&page.text, "csrf").to_owned()
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<&str>,
    ) -> Answer {
        let url = format!("{}{path}", self.origin());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        let answer = match form {
            None => self.agent.run(request.body(()).expect("a request")),
            Some(form) => self.agent.run(request.header("content-type", FORM).body(form).expect("a request")),
        };
        let mut answer = answer.expect("the server answers");
        let text = answer.body_mut().read_to_string().expect("text");
        let answer = Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text };
        let set = answer.header("set-cookie");
        if !set.is_empty() {
            let pair = set.split(';').next().unwrap_or_default();
            self.cookie = if pair.ends_with('=') { String::new() } else { pair.to_owned() };
        }
        answer
    }
}

/// The value of the first field of this name in a page.
pub(super) fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let from = page.split_once(&format!("name=\"{name}\" value=\"")).map(|(_, rest)| rest);
    from.and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

/// What a page shows as the live figure of this name.
pub(super) fn figure<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) =
        page.split_once(&format!("data-live=\"{name}\"")).unwrap_or_else(|| panic!("no {name}: {page}"));
    let (_, rest) = rest.split_once('>').expect("the tag ends");
    rest.split('<').next().unwrap_or_default()
}

/// A form as browsers encode it.
pub(super) fn encode(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let sign = |byte: u8| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(sign).collect::<String>()
    };
    fields
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}
