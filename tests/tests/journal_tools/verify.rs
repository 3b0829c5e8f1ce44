//! `chartd journal verify`.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

fn verified(dir: &Path, code: i32) -> Value {
    let output = on("verify", dir, &["--json"], code);
    assert_eq!(stdout(&output).lines().count(), 1, "one document and nothing else");
    assert_eq!(stderr(&output), "");
    lines(&output).remove(0)
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_whole_journal_is_counted() {
    let journal = whole();
    let before = contents(journal.path());
    let report = verified(journal.path(), 0);
    let bytes: usize = before.values().map(Vec::len).sum();
    for (key, value) in [
        ("whole", json!(true)),
        ("segments", json!(3)),
        ("packed", json!(0)),
        ("bytes", json!(bytes)),
        ("blocks", json!(journal.blocks.len())),
        ("records", json!(journal.next)),
        ("first_sequence", json!(0)),
        ("last_sequence", json!(journal.next - 1)),
        ("first", json!("2024-08-08T00:00:00.000000000Z")),
        ("last", json!("2024-08-08T00:00:00.156000000Z")),
        ("runs", json!(2)),
        ("configurations", json!(2)),
        ("frames", json!({"binance": 101, "kraken": 50})),
        ("gap_count", json!(1)),
        ("lost_records", json!(12)),
        ("lost_bytes", json!(1_200)),
        ("finding_count", json!(0)),
        ("findings", json!([])),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(report["gaps"][0]["venues"], json!(["kraken"]));
    assert_eq!(report["gaps"][0]["sequence"], json!(102));
    assert_eq!(report["gaps"][0]["until"], json!("2024-08-08T00:00:00.101999900Z"));
    let text = stdout(&on("verify", journal.path(), &[], 0));
    for part in
        ["3 (0 packed)", "157 of", "numbers 0 to 156", "binance 101, kraken 50", "12 of kraken", "is there."]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(contents(journal.path()) == before, "it writes nothing");
}

#[test]
fn each_corrupt_block_is_named_and_its_records_are_missing() {
    let journal = whole();
    let blocks = [2, journal.blocks.len() - 3];
    blocks.iter().for_each(|block| journal.damage(*block));
    let report = verified(journal.path(), 1);
    assert_eq!((report["whole"].as_bool(), report["finding_count"].as_u64()), (Some(false), Some(2)));
    let mut missing = 0;
    for (block, finding) in blocks.iter().zip(report["findings"].as_array().unwrap()) {
        let (segment, offset, _, first) = journal.blocks[*block];
        let until = journal.blocks[block + 1].3;
        missing += until - first;
        let expected = json!({
            "why": "corrupt", "from": first, "until": until, "segment": segment, "offset": offset, "bytes": null,
        });
        assert_eq!(finding, &expected);
    }
    assert_eq!(report["missing_records"], json!(missing));
    assert_eq!(report["records"], json!(journal.next - missing));
    let text = stdout(&on("verify", journal.path(), &[], 1));
    let (segment, offset, _, first) = journal.blocks[2];
    assert!(text.contains(&format!("records {first} to ")), "{text}");
    assert!(text.contains(&format!("segment {segment}, byte {offset}")), "{text}");
    assert!(text.contains("Some of what was durable is corrupt."), "{text}");
}

#[test]
fn a_torn_tail_is_told_and_is_no_error() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    for id in 0..40 {
        journal.frame(0, 0, &binance_trade(id, "1"));
        if id % 10 == 9 {
            journal.seal(0);
        }
    }
    journal.save();
    assert_eq!(
        verified(journal.path(), 0)["finding_count"],
        0,
        "what a daemon has not yet written is no finding"
    );
    journal.damage(3);
    let report = verified(journal.path(), 0);
    let (segment, offset, end, first) = journal.blocks[3];
    let expected = json!({
        "why": "torn", "from": first, "until": first, "segment": segment, "offset": offset, "bytes": end - offset,
    });
    assert_eq!(report["findings"], json!([expected]));
    let text = stdout(&on("verify", journal.path(), &[], 0));
    assert!(text.contains("torn tail") && text.contains("is there."), "{text}");
}

#[test]
fn what_is_no_journal_is_a_wrong_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.csv");
    let gone = dir.path().join("gone");
    for path in [dir.path(), &gone, &file] {
        fs::write(&file, "").unwrap();
        for command in [&["verify"][..], &["dump"], &["export", "-o", "-"]] {
            let args = command.iter().map(OsStr::new).chain([path.as_os_str()]);
            let output = journal(args, 2);
            let said = stderr(&output);
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.starts_with("chartd: ") && said.contains(&path.display().to_string()), "{said}");
            assert_eq!(stdout(&output), "");
        }
        let _ = fs::remove_file(&file);
    }
}

#[test]
fn a_new_configuration_is_no_new_run() {
    let mut journal = Journal::new();
    for (run, generation) in [("aa", 1), ("aa", 2), ("bb", 1)] {
        journal.start(&two_feeds(run, generation));
        journal.frame(1, 0, &kraken_trade(1));
        journal.next_segment(); // It begins with the same configuration once more.
    }
    journal.finish();
    let report = verified(journal.path(), 0);
    assert_eq!((&report["runs"], &report["configurations"]), (&json!(2), &json!(3)));
    assert_eq!((&report["frames"], &report["records"]), (&json!({"kraken": 3}), &json!(6)));
}
