//! The journal on a real file system whose power is cut: in a virtual machine whose disk forgets what it was not told to
//! flush. What the daemon had said to be durable is there afterwards, and the next run joins it.

use serde_json::Value;
use std::process::Command;
use tests::vm::Machine;

const CONFIG: &str = r#"
socket = "/run/chartd.sock"
[[feed]]
venue = "binance"
symbols = ["BTCUSDT"]
url = "ws://127.0.0.1:9101"
rest_url = "http://127.0.0.1:9101"
[[chart]]
source = "binance:BTCUSDT"
timeframe = "1s"
size = [320, 240]
[journal]
folder = "/var/lib/journal"
durability = "CLASS"
segment_mb = 8
"#;

/// Starts the simulated venue and the daemon, both of which outlive the line that starts them.
const START: &str = "
    setsid chartd sim --listen 127.0.0.1:9101 --seed 3 >/run/sim.log 2>&1 </dev/null &
    sleep 2
    setsid chartd run --config /etc/chartd.toml >/run/chartd.log 2>&1 </dev/null &
    sleep 1";

#[test]
fn what_was_durable_outlives_a_power_cut() {
    let Some(mut machine) = Machine::start("journal") else { return };
    for program in ["chartd", "chartctl"] {
        let small = tempfile::NamedTempFile::new().unwrap();
        let stripped = Command::new("strip").arg("-o").arg(small.path()).arg(tests::bin(program)).status();
        assert!(stripped.unwrap().success());
        machine.write(&format!("/usr/local/bin/{program}"), &std::fs::read(small.path()).unwrap(), 0o755);
    }
    machine.must("sync");
    for (seed, class) in [(1, "group"), (2, "sync")] {
        let config = CONFIG.replace("CLASS", class);
        machine.write("/etc/chartd.toml", config.as_bytes(), 0o644);
        machine.must("rm -rf /var/lib/journal; sync");
        machine.must(START);
        let mut durable = 0;
        for _ in 0..60 {
            durable = watermark(&mut machine);
            if durable > 300 {
                break;
            }
            machine.must("sleep 1");
        }
        assert!(durable > 300, "class {class}: {}", machine.text("/run/chartd.log"));
        // More has become durable since it was asked; it is at least this.
        durable = watermark(&mut machine);
        machine.cut_power(seed);

        let found = verified(&mut machine);
        assert!(number(&found, "last_sequence") + 1 >= durable, "class {class}: {durable} durable, {found}");
        assert_eq!(found["finding_count"], 0, "class {class}: {found}");

        machine.must(START);
        machine.must("sleep 3; pkill -TERM -x chartd; sleep 4");
        let joined = verified(&mut machine);
        assert_eq!(
            (&joined["runs"], &joined["finding_count"], &joined["missing_records"], &joined["whole"]),
            (&Value::from(2), &Value::from(0), &Value::from(0), &Value::from(true)),
            "class {class}: {joined}"
        );
        println!("class {class}: {durable} durable before the cut, {} found after it", found["records"]);
    }
}

fn watermark(machine: &mut Machine) -> u64 {
    let told = machine.shell("chartctl --socket /run/chartd.sock stats --json");
    let stats: Value = serde_json::from_str(&told.text()).unwrap_or_default();
    stats["journal"]["durable"].as_u64().unwrap_or(0)
}

/// What the tool says of the journal. It ends with another status where the torn end is not cut yet.
fn verified(machine: &mut Machine) -> Value {
    let told = machine.shell("chartd journal verify --json /var/lib/journal");
    serde_json::from_str(&told.text())
        .unwrap_or_else(|error| panic!("{error}: {}{}", told.text(), told.stderr))
}

fn number(found: &Value, name: &str) -> u64 {
    found[name].as_u64().unwrap_or_else(|| panic!("no {name} in {found}"))
}
