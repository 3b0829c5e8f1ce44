//! Programs of the machine: systemd's units, and those of GRUB and udev.
//!
//! A unit is known if the recorded host tells what `systemctl show` says of it, and its state shows where systemd leaves
//! it: links of what runs, of what is enabled, of what is masked.

use super::{State, refused};
use std::path::{Path, PathBuf};
use tuner::host::{HostError, HostErrorKind};

const ETC: &str = "/etc/systemd/system";

impl State {
    pub(super) fn run(&mut self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        match (program, arguments) {
            ("systemctl", ["show", "--property=SystemState"]) => Ok("SystemState=running\n".into()),
            ("systemctl", ["show", properties, unit]) => Ok(self.tell(properties, unit)),
            ("systemctl", ["daemon-reload"]) | ("udevadm", _) => {
                self.check_write(Path::new(program)).map(|()| String::new())
            }
            ("systemctl", ["reboot", ..]) => {
                self.check_write(Path::new(program))?;
                self.reboot();
                Ok(String::new())
            }
            ("systemctl", [verb, .., unit]) => {
                self.turn(verb, arguments.contains(&"--now"), unit).map(|()| String::new())
            }
            ("update-grub", []) => {
                self.check_write(Path::new(program))?;
                self.update_grub();
                Ok(String::new())
            }
            ("sh", arguments) => self.shell(arguments),
            ("grub-reboot", [entry]) => self.set_grubenv("next_entry", Some(entry)),
            ("grub-set-default", [entry]) => self.set_grubenv("saved_entry", Some(entry)),
            ("grub-editenv", [_, "unset", name]) => self.set_grubenv(name, None),
            ("grub-editenv", [_, "list"]) => Ok(self.grubenv()),
            ("grub-editenv", [_, "set", setting]) => {
                let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                self.set_grubenv(name, Some(value))
            }
            _ => Err(refused(Path::new(program), HostErrorKind::Absent)),
        }
    }

    /// What is told of a unit.
    fn told(&mut self, unit: &str) -> Option<&mut String> {
        let is_its =
            |asked: &String| asked.starts_with("run systemctl show ") && asked.ends_with(&format!(" {unit}"));
        self.now.told.iter_mut().find(|(asked, _)| is_its(asked)).map(|(_, told)| told)
    }

    fn property(&mut self, unit: &str, name: &str) -> String {
        let told = self.told(unit).cloned().unwrap_or_default();
        let value =
            told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        value.unwrap_or_default()
    }

    fn tell(&mut self, properties: &str, unit: &str) -> String {
        let names = properties.trim_start_matches("--property=").split(',');
        let is_known = self.told(unit).is_some();
        let line = |name: &str| match (is_known, name) {
            (false, "LoadState") => "LoadState=not-found\n".into(),
            (false, "ActiveState") => "ActiveState=inactive\n".into(),
            _ => format!("{name}={}\n", self.property(unit, name)),
        };
        names.map(line).collect()
    }

    fn turn(&mut self, verb: &str, now: bool, unit: &str) -> Result<(), HostError> {
        let subject = PathBuf::from(format!("systemctl {verb} {unit}"));
        self.check_write(&subject)?;
        self.writes.push(subject.display().to_string());
        if self.told(unit).is_none() {
            return Err(refused(&subject, HostErrorKind::Failed));
        }
        let is_masked = self.property(unit, "UnitFileState") == "masked";
        match verb {
            "start" | "restart" | "enable" if is_masked => {
                return Err(refused(&subject, HostErrorKind::Failed));
            }
            "start" | "restart" => self.show_active(unit, true),
            "stop" => self.show_active(unit, false),
            "enable" => self.show_file(unit, "enabled"),
            "disable" => self.show_file(unit, "disabled"),
            "mask" => self.show_file(unit, "masked"),
            "unmask" if is_masked => {
                let wants = PathBuf::from(format!("{ETC}/multi-user.target.wants/{unit}"));
                let was_enabled = self.now.links.contains_key(&wants);
                self.show_file(unit, if was_enabled { "enabled" } else { "disabled" });
            }
            "unmask" => {}
            _ => return Err(refused(&subject, HostErrorKind::Failed)),
        }
        match (now, verb) {
            (true, "enable") => self.show_active(unit, true),
            (true, "disable" | "mask") => self.show_active(unit, false),
            _ => {}
        }
        Ok(())
    }

    fn set_property(&mut self, unit: &str, name: &str, value: &str) {
        let Some(told) = self.told(unit) else { return };
        let own = format!("{name}=");
        let mut lines: Vec<_> = told.lines().map(str::to_owned).collect();
        match lines.iter_mut().find(|line| line.starts_with(&own)) {
            Some(line) => *line = own + value,
            None => lines.push(own + value),
        }
        *told = lines.iter().map(|line| format!("{line}\n")).collect();
    }

    fn show_active(&mut self, unit: &str, is_active: bool) {
        self.set_property(unit, "ActiveState", if is_active { "active" } else { "inactive" });
        let link = PathBuf::from(format!("/run/systemd/units/invocation:{unit}"));
        match is_active {
            true => drop(self.now.links.insert(link, "0123456789abcdef0123456789abcdef".into())),
            false => drop(self.now.links.remove(&link)),
        }
    }

    fn show_file(&mut self, unit: &str, file: &str) {
        self.set_property(unit, "UnitFileState", file);
        self.set_property(unit, "LoadState", if file == "masked" { "masked" } else { "loaded" });
        let mask = PathBuf::from(format!("{ETC}/{unit}"));
        let wants = PathBuf::from(format!("{ETC}/multi-user.target.wants/{unit}"));
        match file {
            "masked" => drop(self.now.links.insert(mask, "/dev/null".into())),
            _ => drop(self.now.links.remove(&mask)),
        }
        match file {
            "enabled" => drop(self.now.links.insert(wants, format!("/usr/lib/systemd/system/{unit}").into())),
            "disabled" => drop(self.now.links.remove(&wants)),
            // Masking leaves what is enabled enabled.
            _ => {}
        }
    }

    /// What is enabled runs after a boot, what is disabled or masked does not.
    pub(super) fn start_units(&mut self) {
        let shown: Vec<String> = self
            .now
            .told
            .keys()
            .filter_map(|asked| {
                asked.strip_prefix("run systemctl show ")?.rsplit(' ').next().map(str::to_owned)
            })
            .collect();
        for unit in shown {
            match self.property(&unit, "UnitFileState").as_str() {
                "enabled" => self.show_active(&unit, true),
                "disabled" | "masked" => self.show_active(&unit, false),
                // What others start is as it was after the first boot.
                _ => {}
            }
        }
    }
}
