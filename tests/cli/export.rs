//! `weir export` in each format: of a directory at rest, of one that is served, and of a backup.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Value, json};

use crate::process::{Server, text, weir};
use crate::scene::{Keys, Scene, trace, trace_tokens};

/// What is exported as lines of JSON.
fn lines(directory: &Path) -> Vec<Value> {
    let ended = weir(&["export", text(directory), "--format", "ndjson"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("json")).collect()
}

/// What is exported as Parquet, as lines of JSON would have it.
fn columns(directory: &Path, file: &Path) -> Vec<Value> {
    let ended = weir(&["export", text(directory), "--format", "parquet", "--out", text(file)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let reader = SerializedFileReader::new(File::open(file).expect("written")).expect("a whole file");
    reader.get_row_iter(None).expect("rows").map(|row| row_json(&row.expect("a row"))).collect()
}

fn row_json(row: &Row) -> Value {
    row.get_column_iter().map(|(name, field)| (name.clone(), field_json(field))).collect()
}

fn field_json(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => json!(text),
        Field::UInt(number) => json!(number),
        Field::ULong(number) => json!(number),
        Field::TimestampMillis(ms) => {
            json!(format!("{:.3}", jiff::Timestamp::from_millisecond(*ms).expect("a time")))
        }
        other => panic!("{other} is of a type that the schema does not name"),
    }
}

/// Charges 300 rows of a trace, an event with an id that CSV has to quote, and one that is exempt.
fn charge(scene: &Scene, server: &Server, keys: &Keys) {
    let trace = scene.write_trace(&trace(300));
    let replay = ["replay", text(&trace), "--org", "acme", "--cameras", "4", "--flat-out", "--register"];
    let ended = server.weir(&keys.gateway, &[&replay[..], &["--admin-key", &keys.admin]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let set = ["camera", "set", "acme", "free", "--network", "roof"];
    assert_eq!(server.weir(&keys.admin, &set).code, 0);
    let bind = ["camera", "bind", "acme", "free", "--license", "U-1", "--from", "2020-01-01T00:00:00Z"];
    let ended = server.weir(&keys.admin, &[&bind[..], &["--until", "2099-01-01T00:00:00Z"]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let file = scene.path("events.ndjson");
    let now = scene.data().metadata().and_then(|data| data.modified()).expect("a time");
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let event = |camera: &str, id: Value, tokens: u32| json!({"c": camera, "id": id, "t": now, "n": tokens});
    let events = [event("cam-0", json!("a,\"b\""), 7), event("free", json!("e"), 9)];
    let events = events.map(|event| event.to_string()).join("\n");
    std::fs::write(&file, events).expect("written");
    let maps =
        ["--map", "camera=c", "--map", "event_id=id", "--map", "tokens=n", "--map", "time=t", "--seconds"];
    let ingest = ["ingest", "ndjson", text(&file), "--org", "acme"];
    let ended = server.weir(&keys.gateway, &[&ingest[..], &maps].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn every_format_holds_the_same_debits_also_of_a_directory_that_is_served() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    charge(&scene, &server, &keys);
    let served = lines(&scene.data());
    assert_eq!(served.len(), 302, "all that was acknowledged");
    assert_eq!(columns(&scene.data(), &scene.path("served.parquet")), served);
    let used = server.weir(&keys.admin, &["summary", "acme", "--json"]).json()["used"].as_u64();
    let charged = served.iter().filter(|row| row["outcome"] == "charged");
    assert_eq!(charged.filter_map(|row| row["tokens"].as_u64()).sum::<u64>(), used.expect("a number"));
    assert_eq!(used, Some(trace_tokens(300) + 7));
    let of = |id: &str| served.iter().find(|row| row["event_id"] == id).expect("exported").clone();
    let (quoted, exempt) = (of("a,\"b\""), of("e"));
    assert_eq!(
        (&quoted["outcome"], &quoted["tokens"], &quoted["seq"]),
        (&json!("charged"), &json!(7), &Value::Null)
    );
    assert_eq!((&exempt["outcome"], &exempt["license"]), (&json!("exempt"), &json!("U-1")));
    assert_eq!((&exempt["network"], &exempt["camera"]), (&json!("roof"), &json!("free")));
    let csv = weir(&["export", text(&scene.data()), "--format", "csv"]).stdout;
    assert!(csv.contains(",\"a,\"\"b\"\"\"\r\n"), "{csv}");
    let backup = scene.path("backup");
    assert_eq!(weir(&["backup", text(&backup), "--data", text(&scene.data())]).code, 0);
    assert_eq!(server.running.stop(), Some(0));
    assert_eq!(lines(&scene.data()), served, "at rest");
    assert_eq!(columns(&backup, &scene.path("backup.parquet")), served, "of a backup");
}

#[test]
fn an_export_beside_debits_holds_what_was_acknowledged_before_it_and_no_debit_twice() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    charge(&scene, &server, &keys);
    let more = scene.path("more.csv");
    std::fs::write(&more, trace(20_000)).expect("written");
    let writing = std::thread::scope(|scope| {
        let replay = ["replay", text(&more), "--org", "acme", "--cameras", "4", "--epoch", "2"];
        let where_to = ["--flat-out", "--batch", "10", "--server", &server.url, "--key", &keys.gateway];
        let words = [&replay[..], &where_to].concat();
        let writing = scope.spawn(move || weir(&words));
        let mut least = 302;
        while !writing.is_finished() {
            let used = server.weir(&keys.admin, &["summary", "acme", "--json"]).json()["used"].clone();
            let rows = lines(&scene.data());
            assert!(rows.len() >= least, "an export never holds less than the one before");
            let charged = rows.iter().filter(|row| row["outcome"] == "charged");
            let tokens: u64 = charged.filter_map(|row| row["tokens"].as_u64()).sum();
            assert!(Some(tokens) >= used.as_u64(), "{tokens} are exported, {used} were acknowledged");
            let place = |row: &Value| (row["lsn"].as_u64(), row["row"].as_u64());
            assert!(rows.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])));
            least = rows.len();
        }
        writing.join().expect("it ends")
    });
    assert_eq!(writing.code, 0, "{writing:?}");
    assert_eq!(lines(&scene.data()).len(), 20_302);
}

#[test]
fn what_cannot_be_exported_leaves_no_file() {
    let scene = Scene::new();
    let file = scene.path("out.parquet");
    let words =
        |directory: &Path| weir(&["export", text(directory), "--format", "parquet", "--out", text(&file)]);
    let missing = words(&scene.path("nowhere"));
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(!file.exists());
    let data = scene.charged_directory(10);
    std::fs::write(&file, "mine").expect("written");
    assert_eq!(words(&data).code, 1, "a file that is there is not written over");
    assert_eq!(std::fs::read_to_string(&file).expect("kept"), "mine");
}
