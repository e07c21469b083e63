//! Help around the commands: completions, the check of a configuration, the forms of output.

use serde_json::json;

use crate::process::{Server, operator_key, text, weir};
use crate::scene::Scene;

#[test]
fn every_shell_is_told_the_commands_and_their_flags() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = weir(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        for word in ["reservation", "grpc-listen", "completions"] {
            assert!(script.stdout.contains(word), "{word} for {shell}");
        }
    }
    assert_eq!(weir(&["completions", "tcsh"]).code, 2);
}

#[test]
fn a_configuration_is_checked_without_a_server_and_the_wrong_setting_is_named_with_its_place() {
    let scene = Scene::new();
    let file = scene.path("weir.toml");
    let check = |text_of: &str, more: &[&str]| {
        std::fs::write(&file, text_of).expect("written");
        weir(&[&["config", "check", "--config", text(&file)], more].concat())
    };
    let fits = check("workers = 3\n", &[]);
    assert!(fits.code == 0 && fits.stdout.contains("fits"), "{fits:?}");
    for (content, more, place) in [
        ("log = \"info\"\nworkers = 0\n", &[][..], format!("{}:2: `workers`", text(&file))),
        ("\nworker = 2\n", &[], format!("{}:2: there is no setting `worker`", text(&file))),
        ("", &["--listen", "nowhere"], "the flag --listen: `listen`".to_owned()),
    ] {
        let refused = check(content, more);
        assert!(refused.code == 2 && refused.stderr.contains(&place), "{place}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    std::fs::write(&file, "log = \"info\"\nworkers = 3\n").expect("written");
    let shown = weir(&["config", "show", "--config", text(&file), "--partitions", "2", "--json"]).json();
    let places = json!([
        {"name": "log", "value": "info", "where": format!("{}:1", text(&file))},
        {"name": "partitions", "value": "2", "where": "the flag --partitions"},
        {"name": "workers", "value": "3", "where": format!("{}:2", text(&file))},
    ]);
    assert_eq!(shown["settings"], places);
    assert!(!scene.path("weir-data").exists(), "nothing was made");
}

#[test]
fn an_answer_is_printed_as_a_table_as_json_or_as_csv() {
    let scene = Scene::new();
    let server = Server::start(&scene.data(), &scene.path("operator.key"), &[]);
    let operator = operator_key(&scene.path("operator.key"));
    for org in ["north", "south"] {
        server.weir(&operator, &["orgs", "create", org]);
    }
    let list = |more: &[&str]| server.weir(&operator, &[&["orgs", "list"], more].concat()).stdout;
    assert_eq!(list(&[]), "north\nsouth\n");
    assert_eq!(list(&["--output", "csv"]), "organizations\nnorth\nsouth\n");
    assert_eq!(list(&["--output", "json"]), list(&["--json"]));
    let keys = server.weir(&operator, &["key", "list", "--output", "csv"]).stdout;
    assert!(keys.starts_with("by,created_at,id,label,organizations,revoked_at,role\n"), "{keys}");
    let both = server.weir(&operator, &["orgs", "list", "--json", "--output", "csv"]);
    assert_eq!(both.code, 2, "{both:?}");
    let refused = server.weir(&operator, &["summary", "none", "--output", "json"]);
    assert!(refused.code == 1 && refused.stderr.trim_end().ends_with('}'), "{refused:?}");
}
