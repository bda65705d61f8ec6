//! `docs/torture.md` names tests that exist, and every test of an id is on it.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of all functions of tests that begin with an id of TORTURE, below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("read a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("read a source");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.filter(|name| is_word(name)).map(str::to_owned));
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The id that a test is named by: `g3_lengths…` is about G3.
fn id(name: &str) -> Option<&str> {
    let (id, _) = name.split_once('_')?;
    let digits = id.strip_prefix(|letter: char| letter.is_ascii_lowercase())?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

#[test]
fn the_page_of_torture_names_tests_that_exist() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let page = std::fs::read_to_string(root.join("docs/torture.md")).expect("the page");
    let mut all = BTreeSet::new();
    tests_below(&root.join("crates"), &mut all);
    let mut missing = Vec::new();
    // `crate::file::function`, or `crate::file::begin…` for all that begin so.
    let quoted =
        page.split('`').skip(1).step_by(2).filter(|text| text.contains("::") && !text.contains("file::"));
    for name in quoted.filter_map(|text| text.rsplit("::").next()) {
        let exists = match name.strip_suffix('…') {
            Some(begin) => all.iter().any(|test| test.starts_with(begin)),
            None => all.contains(name),
        };
        if !exists {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "docs/torture.md names tests that are not there: {missing:?}");
}

#[test]
fn every_id_that_the_first_release_promises_is_on_the_page_with_a_test() {
    const PROMISED: &str = "g1 g2 g3 g4 g5 g7 g8 g9 g13 g14 g15 g17 n1 n6 z1 z2 z3 z5 z6 z7 z10 z11 z12 z13 z14 s2 s8 \
                            m1 m2 m3 f1 f5 f8 f9 f10 f11 f12 f14 f42 f45 j1 j2 j3 j4 j5 j6 n10 f2 f3 f4 f24 f32 f33 \
                            z17";
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let page = std::fs::read_to_string(root.join("docs/torture.md")).expect("the page");
    let mut all = BTreeSet::new();
    tests_below(&root.join("crates"), &mut all);
    for promised in PROMISED.split_whitespace() {
        let tested =
            all.iter().any(|test| id(test) == Some(promised) || test.contains(&format!("_{promised}_")));
        assert!(tested, "no test is named by {promised}");
        assert!(
            page.contains(&format!("| {} |", promised.to_uppercase())),
            "{promised} has no line on the page"
        );
    }
}
