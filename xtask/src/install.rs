//! `cargo xtask install` and `cargo xtask uninstall`: what belongs where, written once, in [`TABLE`].
//!
//! Only files are moved; the commands that make systemd see them are printed, for somebody else to run.

use anyhow::{Context, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where to install, or what to uninstall from.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where programs go, below bin, as chartd is to find them when it runs
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Treat this folder as the root of the file system, as for a package or an image
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
}

/// What a file is to the installation.
enum Kind {
    /// A built program.
    Program,
    /// Part of chartd: overwritten and removed. `@PREFIX@` in it stands for the prefix.
    Part,
    /// The administrator's: neither overwritten nor, once changed, removed.
    Configuration,
}
use Kind::{Configuration, Part, Program};

/// A file: its source, in the folder of built programs or in `systemd/`; its destination; what it is.
/// `@LIB@` stands for the folder below which systemd looks.
const TABLE: [(&str, &str, Kind); 10] = [
    ("chartd", "@PREFIX@/bin/chartd", Program),
    ("chartctl", "@PREFIX@/bin/chartctl", Program),
    ("tuner", "@PREFIX@/bin/tuner", Program),
    ("chartd.service", "@LIB@/systemd/system/chartd.service", Part),
    ("chartd.socket", "@LIB@/systemd/system/chartd.socket", Part),
    ("chartd.slice", "@LIB@/systemd/system/chartd.slice", Part),
    ("chartd.sysusers", "@LIB@/sysusers.d/chartd.conf", Part),
    ("chartd.tmpfiles", "@LIB@/tmpfiles.d/chartd.conf", Part),
    ("chartd.rules", "@LIB@/udev/rules.d/70-chartd.rules", Part),
    ("chartd.toml", "/etc/chartd/chartd.toml", Configuration),
];

const AFTER_INSTALL: &str = "\
Next, as root on the machine that is to run it:
  systemd-sysusers && systemd-tmpfiles --create chartd.conf
  udevadm control --reload && udevadm trigger /dev/cpu_dma_latency
  editor /etc/chartd/chartd.toml && chartd check
  tuner audit                               # what else the machine could be given; it changes nothing
  systemctl daemon-reload && systemctl enable --now chartd.socket chartd.service
  usermod --append --groups chartd USER     # for each who may read charts";

const AFTER_UNINSTALL: &str = "\
Next, as root, where it ran:
  systemctl stop chartd.socket chartd.service
  systemctl disable chartd.socket chartd.service     # says that they are gone, and removes their links
  systemctl daemon-reload; udevadm control --reload";

/// Puts everything in place, with the programs in `programs`.
pub(crate) fn install(place: &Place, programs: &Path) -> anyhow::Result<()> {
    for (source, destination, kind) in &TABLE {
        let path = place.path(destination)?;
        if matches!(kind, Configuration) && path.exists() {
            println!("kept {}", path.display());
            continue;
        }
        let (content, mode) = match kind {
            Program => (read(&programs.join(source))?, 0o755),
            Part | Configuration => (place.text(source)?, 0o644),
        };
        write(&path, &content, mode).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    println!("{AFTER_INSTALL}");
    Ok(())
}

/// Removes what [`install`] wrote.
pub(crate) fn uninstall(place: &Place) -> anyhow::Result<()> {
    for (source, destination, kind) in &TABLE {
        let path = place.path(destination)?;
        if !path.exists() {
            continue;
        }
        if matches!(kind, Configuration) && read(&path)? != place.text(source)? {
            println!("kept {}: it was changed", path.display());
            continue;
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        println!("removed {}", path.display());
        place.remove_empty_above(&path);
    }
    println!("{AFTER_UNINSTALL}");
    Ok(())
}

impl Place {
    /// A destination of the table, on this machine.
    fn path(&self, destination: &str) -> anyhow::Result<PathBuf> {
        let path = self.expand(destination)?;
        Ok(match &self.destdir {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => path.into(),
        })
    }

    /// A source of the table, as it is to be installed.
    fn text(&self, source: &str) -> anyhow::Result<Vec<u8>> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(source);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(self.expand(&text)?.into_bytes())
    }

    fn expand(&self, text: &str) -> anyhow::Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        let prefix = self.prefix.to_str().filter(|p| p.starts_with('/') && p.chars().all(plain));
        let Some(prefix) = prefix.map(|prefix| prefix.trim_end_matches('/')) else {
            // Anything else means something to systemd.
            bail!("--prefix must begin with / and consist of letters, digits and ._+- only, as /usr/local");
        };
        // systemd looks nowhere else.
        let lib = match prefix {
            "/usr" | "/usr/local" => format!("{prefix}/lib"),
            _ => "/etc".to_owned(),
        };
        Ok(text.replace("@PREFIX@", prefix).replace("@LIB@", &lib))
    }

    /// Removes emptied folders: all of a staging tree, but of a machine only chartd's own, since it shares the others.
    fn remove_empty_above(&self, path: &Path) {
        let ours = |dir: &&Path| match &self.destdir {
            Some(root) => dir.starts_with(root) && dir != root,
            None => dir.ends_with("chartd"),
        };
        for dir in path.ancestors().skip(1).take_while(ours) {
            if fs::remove_dir(dir).is_err() {
                return; // Something else lies in it.
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Replaces the file at once: a running program cannot be written over, and nobody sees half of it.
fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let dir = path.parent().context("it has no folder")?;
    fs::create_dir_all(dir)?;
    let new = path.with_added_extension("new");
    fs::write(&new, content)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    Ok(fs::rename(&new, path)?)
}
