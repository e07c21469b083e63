//! A network of hosts on this machine, each in a namespace of its own, whose packets a router of ours drops as a test likes: in both directions or in one.
//!
//! It takes `ip` of iproute2 and the rights of root. Where one of them is missing the tests that need it are passed over and say so.

use std::process::Command;

/// The host number of the tests themselves, which reach every host.
const TESTS: u8 = 253;
const ROUTER: u8 = 254;
/// The priority of the rules that drop packets; those of the kernel come after it.
const PRIORITY: &str = "100";

/// Hosts and the router between them; removed when dropped.
pub(crate) struct Network {
    name: String,
    /// The first three numbers of every address.
    net: String,
    hosts: u8,
}

impl Network {
    /// A network of so many hosts, numbered from 0; none where this machine does not allow it.
    pub(crate) fn start(hosts: u8) -> Option<Self> {
        let id = std::process::id();
        let net = format!("10.{}.{}", 64 + id / 256 % 128, id % 256);
        let network = Self { name: format!("weir{id}"), net, hosts };
        let made = network.make();
        if let Err(why) = made {
            println!("skipped: no network of hosts can be made here: {why}");
            return None;
        }
        Some(network)
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: u8) -> String {
        self.number(host + 1)
    }

    /// What a program is started by so that it runs on a host; it becomes that program.
    pub(crate) fn within(&self, host: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.space(host)].map(str::to_owned).into()
    }

    /// From now on nothing that one host sends reaches the other one.
    pub(crate) fn cut(&self, from: u8, to: u8) {
        let (from, to) = (self.address(from), self.address(to));
        let rule = ["rule", "add", "from", &from, "to", &to, "blackhole", "priority", PRIORITY];
        self.on_router(&rule).expect("the router takes a rule");
    }

    /// Cuts a host off from others, in both directions.
    pub(crate) fn part(&self, host: u8, others: &[u8]) {
        for other in others {
            self.cut(host, *other);
            self.cut(*other, host);
        }
    }

    /// Everything reaches everybody again.
    pub(crate) fn mend(&self) {
        // There may be no rule to remove.
        _ = self.on_router(&["rule", "flush", "priority", PRIORITY]);
    }

    fn number(&self, number: u8) -> String {
        format!("{}.{number}", self.net)
    }

    fn space(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }

    fn router(&self) -> String {
        format!("{}-router", self.name)
    }

    fn make(&self) -> Result<(), String> {
        let router = self.router();
        ip(&["netns", "add", &router])?;
        ip(&["netns", "exec", &router, "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        for host in 0..self.hosts {
            let (space, link) = (self.space(host), format!("host{host}"));
            ip(&["netns", "add", &space])?;
            self.on_router(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            self.join(&link, host + 1)?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            self.reach(&["-n", &space], "eth0", host + 1, "default")?;
        }
        let name = &self.name;
        ip(&["link", "add", name, "type", "veth", "peer", "name", "tests", "netns", &router])?;
        self.join("tests", TESTS)?;
        self.reach(&[], name, TESTS, &format!("{}.0/24", self.net))
    }

    /// The router's end of a link to an address.
    fn join(&self, link: &str, number: u8) -> Result<(), String> {
        self.on_router(&["addr", "add", &format!("{}/32", self.number(ROUTER)), "dev", link])?;
        self.on_router(&["link", "set", link, "up"])?;
        self.on_router(&["route", "add", &self.number(number), "dev", link])
    }

    /// The other end: an address, and what it reaches by the router.
    fn reach(&self, place: &[&str], link: &str, number: u8, reached: &str) -> Result<(), String> {
        let (own, router) = (format!("{}/32", self.number(number)), self.number(ROUTER));
        let there = |words: &[&str]| ip(&[place, words].concat());
        there(&["addr", "add", &own, "dev", link])?;
        there(&["link", "set", link, "up"])?;
        there(&["route", "add", &router, "dev", link])?;
        there(&["route", "add", reached, "via", &router])
    }

    fn on_router(&self, words: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.router()], words].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was not made cannot be removed. Links end with the spaces that they lead to.
        (0..self.hosts).map(|host| self.space(host)).chain([self.router()]).for_each(|space| {
            _ = ip(&["netns", "del", &space]);
        });
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let told = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if told.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&told.stderr).trim()))
}
