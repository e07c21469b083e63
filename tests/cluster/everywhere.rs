//! What is read of all nodes at each of them: the audit log, the operator's page, and the lists of organizations.

use serde_json::{Value, json};
use tokenweir::meter::{Name, NewApiKey, Role};

use crate::carried::{Edges, FORM};
use crate::nodes::{Cluster, HOST, PARTITIONS, name_in, name_of};

/// Acts of pages, as they are told: the node, the act, and to what.
type Acts = Vec<(String, String, String)>;

/// An operator's key that every node knows.
async fn operator(edges: &Edges) -> String {
    let owner = edges.cluster.owner(&name_in(0, 0)).expect("owned");
    let new = NewApiKey {
        label: Name::new("an operator").expect("valid"),
        role: Role::Operator,
        organizations: Vec::new(),
    };
    let (id, key) = owner.create_api_key(HOST, new).await.expect("within bounds");
    for node in &edges.cluster.nodes {
        edges.cluster.until(|| async { node.principal_of_key(&id).map(drop) }).await;
    }
    key
}

fn acts(page: &Value) -> Acts {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = page["entries"].as_array().expect("a list").iter();
    entries.map(|entry| (text(entry, "node"), text(entry, "act"), text(entry, "target"))).collect()
}

fn read(edges: &Edges, node: usize, key: &str, path: &str) -> Value {
    edges.ask(node, key, ("GET", path), &Value::Null).expect(200).json()
}

/// All pages of so many rows.
fn paged(edges: &Edges, node: usize, key: &str, (path, rows): (&str, usize)) -> Acts {
    let (mut after, mut all) = (String::new(), Vec::new());
    loop {
        let page = read(edges, node, key, &format!("{path}?limit={rows}{after}"));
        all.extend(acts(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_every_node_shows_the_acts_that_any_node_recorded_each_with_its_node() {
    let edges = Edges::start().await;
    let key = operator(&edges).await;
    let id = edges.ids[1].clone();
    let cameras = format!("/v1/organizations/{id}/cameras");
    let camera = json!({ "network": "net", "cloud_ai": true });
    let put =
        |node, name: &str| edges.ask(node, &edges.admin, ("PUT", &format!("{cameras}/{name}")), &camera);
    put(0, "first").expect(200);
    edges.cluster.move_to(1, 2, 1);
    put(0, "second").expect(200);
    // An operator may not, which the node says that he came to.
    edges.ask(0, &key, ("PUT", &format!("{cameras}/third")), &camera).expect(403);
    let path = format!("/v1/organizations/{id}/audit");
    let told = |page: &Value| {
        acts(page).into_iter().filter(|(_, act, _)| act == "register_camera").collect::<Acts>()
    };
    let row = |node, target: &str| (name_of(node), "register_camera".to_owned(), target.to_owned());
    let expected = [row(0, "third"), row(2, "second"), row(1, "first"), row(1, "cam")];
    for node in 0..3 {
        let page = read(&edges, node, &edges.admin, &path);
        assert_eq!(
            (&told(&page)[..], &page["incomplete"], &page["next"]),
            (&expected[..], &json!([]), &Value::Null)
        );
        assert_eq!(paged(&edges, node, &edges.admin, (&path, 1)), acts(&page), "pages of one row");
        assert_eq!(
            edges.ask(node, &key, ("GET", &path), &Value::Null).expect(403).json()["code"],
            "forbidden"
        );
    }
    let whole = acts(&read(&edges, 0, &key, "/v1/audit"));
    assert_eq!(whole.iter().filter(|(_, act, _)| act == "create_organization").count(), 3, "{whole:?}");
    let nodes: std::collections::BTreeSet<_> = whole.iter().map(|(node, _, _)| node.clone()).collect();
    assert_eq!(nodes.len(), 3, "{whole:?}");
    for node in 0..3 {
        assert_eq!(acts(&read(&edges, node, &key, "/v1/audit")), whole);
        assert_eq!(paged(&edges, node, &key, ("/v1/audit", 2)), whole, "pages of two rows");
    }
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_gives_no_answer_is_named_and_its_acts_come_when_it_answers() {
    let edges = Edges::start().await;
    let key = operator(&edges).await;
    let whole = acts(&read(&edges, 0, &key, "/v1/audit"));
    let of_second = |act: &(String, String, String)| act.0 == name_of(1);
    assert!(whole.iter().any(of_second), "{whole:?}");
    edges.cluster.net.silence(1, true);
    let page = read(&edges, 0, &key, "/v1/audit?limit=1");
    assert_eq!(page["incomplete"], json!([name_of(1)]));
    assert!(!acts(&page).iter().any(of_second), "{page}");
    edges.cluster.net.silence(1, false);
    let (mut after, mut rest) = (page["next"].as_str().expect("more").to_owned(), acts(&page));
    loop {
        let page = read(&edges, 0, &key, &format!("/v1/audit?limit=2&after={after}"));
        assert_eq!(page["incomplete"], json!([]));
        rest.extend(acts(&page));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    rest.sort();
    let mut all = whole;
    all.sort();
    assert_eq!(rest, all, "each once");
    let gone = read(&edges, 0, &key, "/v1/audit?after=gone~7");
    assert_eq!(gone["incomplete"], json!(["gone"]), "a node that is not known here");
    edges.ask(0, &key, ("GET", "/v1/audit?after=node-1~x"), &Value::Null).expect(400);
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_page_shows_the_partitions_of_all_nodes_and_names_who_gave_no_answer() {
    let edges = Edges::start().await;
    let key = operator(&edges).await;
    let origin = format!("http://{}", edges.edges[0].1.address());
    let headers = [("content-type", FORM), ("origin", origin.as_str())];
    let entered = edges.call(0, ("POST", "/console/sign-in"), &headers, &format!("key={key}"));
    let cookie = entered.expect(303).header("set-cookie").split(';').next().expect("a pair").to_owned();
    let get = |path: &str| edges.call(0, ("GET", path), &[("cookie", cookie.as_str())], "");
    let row = |partition: u16, node: usize| {
        format!("<th scope=\"row\">{partition}</th>\n        <td><code>{}</code></td>", name_of(node))
    };
    let page = get("/console/server");
    let nodes = [0, 1, 2];
    for (partition, node) in (0..PARTITIONS).zip(nodes) {
        assert!(page.expect(200).text.contains(&row(partition, node)), "{}", page.text);
    }
    assert!(!page.text.contains("incomplete") && !page.text.contains("No node tells of"), "{}", page.text);
    edges.cluster.net.silence(2, true);
    let page = get("/console/server");
    assert!(page.expect(200).text.contains(&row(1, 1)) && !page.text.contains(&row(2, 2)), "{}", page.text);
    assert!(page.text.contains("No answer came from <code>node-2</code>"), "{}", page.text);
    assert!(page.text.contains("No node tells of partition 2:"), "{}", page.text);
    let audit = get("/console/audit");
    assert!(audit.expect(200).text.contains("No answer came from <code>node-2</code>"), "{}", audit.text);
    assert!(audit.text.contains("<td><code>node-1</code></td>"), "{}", audit.text);
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_asked_side_by_side() {
    let cluster = Cluster::of(3);
    for partition in 0..PARTITIONS {
        cluster.bare(&name_in(partition, 0)).await;
    }
    // Nobody answers before both others were asked.
    cluster.net.gather(2);
    let (organizations, unlisted) = cluster.nodes[0].organizations_everywhere(HOST, None, 100).await;
    assert_eq!((organizations.len(), unlisted), (3, Vec::new()));
    let page = cluster.nodes[0].audit(HOST, None, 100).await.expect("readable");
    assert_eq!((page.entries.len(), page.incomplete), (3, Vec::new()));
    cluster.close().await;
}
