//! Which text a name stands for, who overrides whom, and what is refused.

use super::*;
use crate::host::Live;
use tempfile::TempDir;

/// A host with these profiles of its own: folder, name, text.
fn host(profiles: &[(usize, &str, &str)]) -> (TempDir, Live) {
    let root = tempfile::tempdir().unwrap();
    for (folder, name, text) in profiles {
        let folder = root.path().join(FOLDERS[*folder].trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
    let host = Live::new(root.path()).unwrap();
    (root, host)
}

fn wish_of(profile: &Profile, id: &str) -> (String, Option<String>) {
    let knob = catalogue::find(id).unwrap();
    (profile.wish(knob).to_string(), profile.origin(knob).map(str::to_owned))
}

#[test]
fn every_profile_in_the_program_is_one() {
    let (_root, host) = host(&[]);
    assert_eq!(names(&host), BUILT_IN.map(|(name, _)| name));
    for (name, _) in BUILT_IN {
        let profile = Profile::find_on(&host, name).unwrap();
        assert_eq!(profile.name, name);
        assert!(!profile.about.is_empty());
    }
    assert!(!Profile::find_on(&host, "audit-only").unwrap().applies);
}

#[test]
fn a_users_profile_is_before_the_one_built_in() {
    let (_root, host) = host(&[
        (1, "rt-cpu", "[knobs]\n\"mem.swappiness\" = 2"),
        (0, "rt-cpu", "[knobs]\n\"mem.swappiness\" = 1"),
    ]);
    let profile = Profile::find_on(&host, "rt-cpu").unwrap();
    assert_eq!(wish_of(&profile, "mem.swappiness").0, "1");
    assert_eq!(wish_of(&profile, "mem.thp"), ("leave".into(), None));
    assert!(profile.ancestors.is_empty());
}

#[test]
fn a_users_profile_may_add_to_the_one_of_its_name() {
    let (_root, host) = host(&[(0, "rt-cpu", "inherits = \"rt-cpu\"\n[knobs]\n\"mem.swappiness\" = 1")]);
    let profile = Profile::find_on(&host, "rt-cpu").unwrap();
    assert_eq!(wish_of(&profile, "mem.swappiness"), ("1".into(), Some("rt-cpu".into())));
    assert_eq!(wish_of(&profile, "mem.thp").0, "never");
    // Those built in that inherit from it follow it.
    let heir = Profile::find_on(&host, "trading-net").unwrap();
    assert_eq!(heir.ancestors, ["rt-cpu", "rt-cpu"]);
    assert_eq!(wish_of(&heir, "mem.swappiness").0, "1");
}

#[test]
fn a_circle_is_none_where_a_text_is_left() {
    let circle = (0, "one", "inherits = \"two\"");
    let (_root, host) = host(&[circle, (0, "two", "inherits = \"one\""), (0, "self", "inherits = \"self\"")]);
    for name in ["one", "self"] {
        let error = Profile::find_on(&host, name).unwrap_err();
        assert!(matches!(error, ProfileError::Circle(_)), "{error}");
    }
}

#[test]
fn a_file_inherits_from_one_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_root, host) = host(&[]);
    fs::write(folder.path().join("base.toml"), "inherits = \"rt-cpu\"\nhuge_pages_percent = 7").unwrap();
    let heir = folder.path().join("heir.toml");
    fs::write(&heir, "inherits = \"base.toml\"\nknobs.mem.thp = \"leave\"").unwrap();
    let profile = Profile::find_on(&host, heir.to_str().unwrap()).unwrap();
    assert_eq!((profile.huge_pages_percent, profile.ancestors.len()), (7, 2));
    // A wish to leave it overrides as every other does.
    assert_eq!(wish_of(&profile, "mem.thp"), ("leave".into(), Some(heir.display().to_string())));
    fs::write(&heir, "inherits = \"./heir.toml\"").unwrap();
    assert!(matches!(Profile::find_on(&host, heir.to_str().unwrap()), Err(ProfileError::Circle(_))));
}

#[test]
fn what_is_wrong_in_a_profile_is_never_passed_over() {
    let wrong = [
        ("\"mem.thq\" = \"never\"", "profile own: there is no knob 'mem.thq'; is 'mem.thp' meant?"),
        ("\"mem.thp\" = \"sometimes\"", "'sometimes' is not for mem.thp: it takes always, madvise, never"),
        ("\"mem.swappiness\" = 1.5", "'1.5' is not for mem.swappiness: it takes a number"),
        ("\"mem.swappiness\" = [1]", "'[1]' is not for mem.swappiness: it takes a number"),
        ("\"mem.swappiness\" =", "profile own: TOML parse error at line 2"),
    ];
    for (line, expected) in wrong {
        let (_root, host) = host(&[(0, "own", &format!("[knobs]\n{line}"))]);
        let error = Profile::find_on(&host, "own").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let (_root, host) = host(&[(0, "own", "inherit = \"rt-cpu\""), (0, "heir", "inherits = \"nobody\"")]);
    assert!(Profile::find_on(&host, "own").unwrap_err().to_string().contains("unknown field `inherit`"));
    assert!(matches!(Profile::find_on(&host, "heir"), Err(ProfileError::Unknown(name)) if name == "nobody"));
    assert!(matches!(Profile::find_on(&host, "other"), Err(ProfileError::Unknown(_))));
}
