//! F45 (the vault's part), and the key's file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use base::{Random, Secret, SystemRandom};
use vault::{KeyError, MASTER_KEY_FILE, MasterKey, Vault};

use crate::sealing::KEY;

fn load(folder: &Path, value: Option<&str>, first_start: bool) -> Result<MasterKey, KeyError> {
    MasterKey::load(folder, value.map(|text| Secret::new(text.to_owned())), first_start, &SystemRandom)
}

fn check_of(key: MasterKey) -> [u8; 32] {
    Vault::new(key, SystemRandom::shared()).check_value().expect("the vault is open")
}

#[test]
fn the_first_start_makes_a_private_key_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = check_of(load(folder.path(), None, true).expect("a key is made"));
    let file = folder.path().join(MASTER_KEY_FILE);
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("it can be read");
    assert!(text.len() == 65 && text.ends_with('\n'), "64 characters and a newline");
    assert_eq!(check_of(load(folder.path(), None, false).expect("it is found")), made);
    assert_eq!(check_of(load(folder.path(), None, true).expect("it is found")), made, "never replaced");
    let left = fs::read_dir(folder.path()).expect("it can be listed").count();
    assert_eq!(left, 1, "no draft is left");
}

#[test]
fn f45_a_missing_key_is_never_made_again_over_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = load(folder.path(), None, false).expect_err("there is none");
    assert!(matches!(&error, KeyError::Missing { .. }));
    assert!(error.to_string().contains("master.key") && error.to_string().contains("SWITCHYARD_MASTER_KEY"));
    assert_eq!(fs::read_dir(folder.path()).expect("it can be listed").count(), 0, "nothing was written");
}

#[test]
fn f45_a_wrong_key_is_told_from_the_right_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stored = check_of(load(folder.path(), None, true).expect("a key is made"));
    let wrong =
        Vault::new(load(folder.path(), Some(KEY), false).expect("it is strong"), SystemRandom::shared());
    assert_eq!(wrong.verify_check(&stored), Err(vault::Error::WrongKey));
    assert_eq!(wrong.verify_check(b""), Err(vault::Error::WrongKey));
    let right = Vault::new(load(folder.path(), None, false).expect("it is there"), SystemRandom::shared());
    assert_eq!(right.verify_check(&stored), Ok(()));
}

#[test]
fn the_variable_goes_before_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of_file = check_of(load(folder.path(), None, true).expect("a key is made"));
    let of_variable = check_of(load(folder.path(), Some(KEY), false).expect("it is strong"));
    assert_ne!(of_file, of_variable);
    assert_eq!(
        of_variable,
        check_of(load(folder.path(), Some(&KEY.to_uppercase()), true).expect("it is strong"))
    );
}

#[test]
fn weak_and_malformed_keys_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weak = |text: &str| match load(folder.path(), Some(text), true) {
        Err(KeyError::Weak { why, .. }) => why,
        other => panic!("{text} gave {other:?}"),
    };
    assert_eq!(weak(&"00".repeat(32)), "all bytes are equal");
    assert_eq!(weak(&"deadbeef".repeat(8)), "it repeats itself");
    assert_eq!(weak(&"0123456789abcdef".repeat(4)), "it repeats itself");
    let counting: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(weak(&counting), "it counts");
    let down: String = (0..32_u8).map(|byte| format!("{:02x}", 255 - 3 * byte)).collect();
    assert_eq!(weak(&down), "it counts");
    let few: String = (0..32).map(|at| format!("{:02x}", (at * at * 7 + at / 5) % 11)).collect();
    assert_eq!(weak(&few), "too few different bytes");
    let text: String = b"Sphinx of black quartz judge vow".iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(weak(&text), "it is the code of a readable text");
    for malformed in ["", "abc", &"zz".repeat(32), &"0".repeat(63), &"é".repeat(32)] {
        assert!(
            matches!(load(folder.path(), Some(malformed), true), Err(KeyError::Malformed { .. })),
            "{malformed}"
        );
    }
}

#[test]
fn random_keys_are_never_called_weak() {
    for _ in 0..20_000 {
        let mut key = [0; 32];
        SystemRandom.fill(&mut key);
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(MasterKey::parse(&text, "the test").is_ok(), "{text}");
    }
}

#[test]
fn an_exposed_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    load(folder.path(), None, true).map(drop).expect("a key is made");
    let file = folder.path().join(MASTER_KEY_FILE);
    for mode in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
        assert!(matches!(load(folder.path(), None, false), Err(KeyError::Exposed { .. })), "{mode:o}");
    }
    let elsewhere = folder.path().join("elsewhere");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::rename(&file, &elsewhere).expect("the folder is ours");
    symlink(&elsewhere, &file).expect("the folder is ours");
    assert!(matches!(load(folder.path(), None, false), Err(KeyError::Io { action: "open", .. })), "no links");
    fs::remove_file(&file).expect("the folder is ours");
    fs::create_dir(&file).expect("the folder is ours");
    assert!(load(folder.path(), None, true).is_err(), "no folder");
}

#[test]
fn an_unwritable_folder_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing");
    let error = load(&missing, None, true).expect_err("there is no folder");
    assert!(error.to_string().contains("missing"), "{error}");
}
