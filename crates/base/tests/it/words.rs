//! Names, secrets, pages, codes, near words.

use base::{Cursor, Email, HostName, LIMIT_MAX, Page, PageRequest, Secret, Slug, SlugError, codes, nearest};
use proptest::prelude::*;

#[test]
fn slugs_are_dns_labels() {
    for fine in ["a", "0", "acme", "acme-2", &"a".repeat(63)] {
        assert!(Slug::parse(fine).is_ok(), "{fine}");
    }
    for wrong in ["-a", "a-", "Acme", "a.b", "a_b", "a b", "é", "a\n", "a/b"] {
        assert_eq!(Slug::parse(wrong), Err(SlugError::Characters), "{wrong:?}");
    }
    assert_eq!(Slug::parse(""), Err(SlugError::Length));
    assert_eq!(Slug::parse(&"a".repeat(64)), Err(SlugError::Length));
    assert_eq!(Slug::parse("xn--80ak6aa92e"), Err(SlugError::Encoded));
    assert!(Slug::parse("www").expect("a slug").is_reserved());
    assert!(!Slug::parse("shop").expect("a slug").is_reserved());
}

#[test]
fn host_names_are_normalised() {
    assert_eq!(HostName::parse("Acme.Example.COM.").expect("a host").as_str(), "acme.example.com");
    for wrong in [
        "",
        ".",
        "a..b",
        "a:80",
        "127.0.0.1",
        "1",
        "[::1]",
        "-a.b",
        "a_b.c",
        "*.a",
        "a/b",
        "é.example",
        "a..",
        &format!("{}a", "a.".repeat(127)),
    ] {
        assert!(HostName::parse(wrong).is_err(), "{wrong:?}");
    }
    let long = format!("{}abc", "a.".repeat(125));
    assert_eq!(long.len(), 253);
    assert_eq!(HostName::parse(&format!("{long}.")).expect("a final dot does not count").as_str(), long);
    for international in ["b\u{fc}cher.example", "B\u{dc}CHER.example.", "\u{430}cme.example", "a.\u{ff41}"] {
        assert_eq!(HostName::parse(international), Err(base::HostError::International), "{international}");
    }
    // A full stop of another script is no dot, and nothing is folded into ASCII on the way: `K` of kelvin is no `k`.
    for wrong in ["acme\u{3002}example", "\u{212a}.example", "acme.example\u{200b}"] {
        assert!(HostName::parse(wrong).is_err(), "{wrong:?}");
    }
    let encoded = HostName::parse("XN--Bcher-KVA.Example.").expect("as DNS has it");
    assert_eq!(encoded.as_str(), "xn--bcher-kva.example");
    let base = HostName::parse("localhost").expect("a host");
    let under = |text: &str| HostName::parse(text).expect("a host").under(&base).map(str::to_owned);
    assert_eq!(under("acme.localhost").as_deref(), Some("acme"));
    assert_eq!(under("a.b.localhost").as_deref(), Some("a.b"));
    assert_eq!((under("localhost"), under("evillocalhost")), (None, None));
}

#[test]
fn mail_addresses_are_plain() {
    assert_eq!(Email::parse("Ada.L+x@Example.COM").expect("valid").as_str(), "Ada.L+x@example.com");
    assert_eq!(Email::parse("Ada@Example.com").expect("valid").key(), "ada@example.com");
    for wrong in [
        "",
        "@",
        "a@",
        "@b",
        "a b@c.d",
        "a@b@c.d",
        "a..b@c.d",
        ".a@c.d",
        "a@127.0.0.1",
        "a@c.d\nBcc: x@y.z",
        "a\u{0}@c.d",
        &format!("{}@c.d", "a".repeat(65)),
    ] {
        assert!(Email::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn secrets_do_not_print() {
    let secret = Secret::new("hunter2".to_owned());
    assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[redacted] [redacted] Some([redacted])");
    assert_eq!(secret.expose(), "hunter2");
}

#[test]
fn a_page_knows_whether_there_is_more() {
    let request = PageRequest::new(Some(2), None).expect("a limit");
    assert_eq!(request.fetch(), 3);
    let page = Page::of(vec!["a", "b", "c"], &request, |row| (*row).to_owned());
    assert_eq!(page.data, ["a", "b"]);
    let next = PageRequest::new(Some(2), page.next_cursor).expect("a limit");
    assert_eq!(next.after(), Some("b"));
    assert_eq!(Page::of(vec!["c"], &next, |row| (*row).to_owned()).next_cursor, None);
    assert_eq!(PageRequest::new(None, None).expect("a default").limit, 50);
    assert!(PageRequest::new(Some(0), None).is_err() && PageRequest::new(Some(LIMIT_MAX + 1), None).is_err());
}

#[test]
fn codes_are_unique_and_well_formed() {
    let mut names: Vec<&str> = codes::ALL.iter().map(|code| code.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for code in codes::ALL {
        assert!(code.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", code.name);
        assert!((400..600).contains(&code.status) && !code.title.is_empty(), "{}", code.name);
        assert_eq!(codes::find(code.name), Some(*code));
    }
}

#[test]
fn near_words_are_found_and_far_ones_are_not() {
    let words = ["replicas", "restart", "resources", "min"];
    let near = |word| nearest(word, words);
    assert_eq!(near("replcas"), Some("replicas"));
    assert_eq!(near("Restrat"), Some("restart"));
    assert_eq!(near("res"), Some("restart"));
    assert_eq!(near("mni"), Some("min"));
    assert_eq!(near("volumes"), None);
    assert_eq!(near(""), None);
    assert_eq!(nearest(&"x".repeat(10_000), words), None);
}

proptest! {
    #[test]
    fn names_survive_their_text(text in "[a-zA-Z0-9.@_-]{0,70}") {
        if let Ok(slug) = Slug::parse(&text) {
            prop_assert_eq!(slug.as_str(), &text);
            let host = format!("{slug}.example");
            prop_assert!(HostName::parse(&host).is_ok());
        }
        if let Ok(host) = HostName::parse(&text) {
            prop_assert_eq!(HostName::parse(host.as_str()), Ok(host.clone()));
        }
        if let Ok(email) = Email::parse(&text) {
            prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
        }
    }

    #[test]
    fn no_text_makes_them_panic(text in "\\PC{0,80}") {
        let _ = (Slug::parse(&text), HostName::parse(&text), Email::parse(&text), Cursor::parse(&text));
        let _ = nearest(&text, ["status", "services"]);
    }

    #[test]
    fn cursors_survive_their_text(key in "[^\u{0}]{0,100}") {
        let cursor = Cursor::from_key(&key);
        let read = Cursor::parse(&cursor.to_string()).expect("what we wrote");
        prop_assert_eq!(read.key(), &key);
    }
}
