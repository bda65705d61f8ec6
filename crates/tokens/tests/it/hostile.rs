//! Tokens that somebody made to get in. Cases carry the ids of TORTURE.

use std::time::Duration;

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokens::{Algorithm, CLAIMS_MAX, DEPTH_MAX, Invalid, Malformed, SigningKey, TOKEN_BYTES_MAX, Unverified};

fn key() -> SigningKey {
    SigningKey::ed25519(&[3; 32]).expect("a key")
}

/// A token with this header, signed all the same.
fn with_header(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = key().signature(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn judged(token: &str) -> Result<(), Invalid> {
    let parsed = Unverified::parse(token).expect("the form of a token");
    parsed.verify(key().public(), &[Algorithm::EdDsa]).map(|_| ())
}

fn claims() -> Value {
    json!({ "iss": "i", "aud": "a", "exp": 100 })
}

#[test]
fn a1_no_spelling_of_none_is_an_algorithm() {
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "hs256", "eddsa", "EDDSA", " EdDSA", "Ed25519"] {
        let header = json!({ "alg": alg, "typ": "JWT" });
        assert_eq!(judged(&with_header(&header, &claims())), Err(Invalid::Algorithm), "{alg}");
        let unsigned = with_header(&header, &claims());
        let (rest, _) = unsigned.rsplit_once('.').expect("a signature");
        assert_eq!(judged(&format!("{rest}.")), Err(Invalid::Algorithm), "{alg} without a signature");
    }
    for header in [json!({ "typ": "JWT" }), json!({ "alg": null }), json!({ "alg": ["EdDSA"] }), json!({})] {
        assert_eq!(judged(&with_header(&header, &claims())), Err(Invalid::Algorithm), "{header}");
    }
    assert_eq!(judged(&with_header(&json!({ "alg": "EdDSA" }), &claims())), Ok(()), "the right one is fine");
    let signed = with_header(&json!({ "alg": "EdDSA" }), &claims());
    let (rest, _) = signed.rsplit_once('.').expect("a signature");
    assert_eq!(judged(&format!("{rest}.")), Err(Invalid::Signature), "no signature");
}

#[test]
fn a2_the_key_says_the_algorithm_not_the_token() {
    // An EdDSA key never verifies anything but EdDSA, whatever the token claims and the caller allows.
    for alg in ["RS256", "ES256", "PS256", "ES384"] {
        let token = with_header(&json!({ "alg": alg }), &claims());
        let parsed = Unverified::parse(&token).expect("a token");
        let outcome = parsed.verify(key().public(), &Algorithm::ALL).map(|_| ());
        assert_eq!(outcome, Err(Invalid::Algorithm), "{alg}");
    }
    // And the key's own algorithm is refused where the caller pins another.
    let token = with_header(&json!({ "alg": "EdDSA" }), &claims());
    let parsed = Unverified::parse(&token).expect("a token");
    assert_eq!(parsed.verify(key().public(), &[Algorithm::Rs256]).map(|_| ()), Err(Invalid::Algorithm));
    // HS256 with the public key as the secret: there is no such algorithm to begin with.
    assert_eq!(Algorithm::parse("HS256"), None);
}

#[test]
fn a3_keys_in_headers_are_refused() {
    let jwk = key().public().to_jwk();
    let address = "http://127.0.0.1:1/keys";
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!(address)),
        ("x5u", json!(address)),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        let header = json!({ "alg": "EdDSA", name: value });
        assert_eq!(judged(&with_header(&header, &claims())), Err(Invalid::Header), "{name}");
    }
}

#[test]
fn a4_odd_key_ids_are_refused() {
    for kid in [json!("k".repeat(257)), json!(""), json!(7), json!(["k"]), json!("a\u{0}b"), json!("k\u{e9}")]
    {
        let header = json!({ "alg": "EdDSA", "kid": kid });
        let token = with_header(&header, &claims());
        let outcome = judged(&token);
        // An empty id is an id that no key has; the others are none.
        let expected = if kid == json!("") { Ok(()) } else { Err(Invalid::Header) };
        assert_eq!(outcome, expected, "{kid}");
    }
    for kid in ["../../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/"] {
        let token = with_header(&json!({ "alg": "EdDSA", "kid": kid }), &claims());
        let parsed = Unverified::parse(&token).expect("a token");
        assert_eq!(parsed.kid(), Some(kid), "a text to compare, and nothing else");
    }
}

#[test]
fn a5_times_are_whole_seconds_that_are_numbers() {
    let now = Timestamp::from_micros(50_000_000);
    let judge = |claims: Value| {
        let token = with_header(&json!({ "alg": "EdDSA" }), &claims);
        let parsed = Unverified::parse(&token).expect("a token");
        let verified = parsed.verify(key().public(), &[Algorithm::EdDsa]).expect("the signature");
        verified.claims().check(now, Duration::from_secs(5), "i", &["a"]).map(|_| ())
    };
    let odd = [
        json!("100"),
        json!(100.5),
        json!(100.0),
        json!(1e30),
        json!(-1),
        json!([100]),
        json!({}),
        json!(null),
        json!(true),
        json!(u64::MAX),
        json!(253_402_300_800_u64),
    ];
    for odd in odd {
        for name in ["exp", "nbf", "iat"] {
            let mut claims = claims();
            claims[name] = odd.clone();
            assert_eq!(judge(claims), Err(Invalid::Claim), "{name} {odd}");
        }
    }
    assert_eq!(judge(json!({ "iss": "i", "aud": "a" })), Err(Invalid::Claim), "no exp");
    assert_eq!(judge(claims()), Ok(()));
    let exp = |exp: u64| json!({ "iss": "i", "aud": "a", "exp": exp });
    assert_eq!(
        (judge(exp(46)), judge(exp(45))),
        (Ok(()), Err(Invalid::Expired)),
        "the leeway, to the second"
    );
    for name in ["nbf", "iat"] {
        let mut early = claims();
        early[name] = json!(55);
        assert_eq!(judge(early.clone()), Ok(()), "{name} within the leeway");
        early[name] = json!(56);
        assert_eq!(judge(early), Err(Invalid::TooEarly), "{name}");
    }
}

#[test]
fn a6_issuer_and_audience_are_exact() {
    let now = Timestamp::from_micros(50_000_000);
    let judge = |iss: Value, aud: Value| {
        let mut claims = json!({ "exp": 100, "iss": iss, "aud": aud });
        if aud.is_null() {
            claims.as_object_mut().expect("an object").remove("aud");
        }
        let token = with_header(&json!({ "alg": "EdDSA" }), &claims);
        let parsed = Unverified::parse(&token).expect("a token");
        let verified = parsed.verify(key().public(), &[Algorithm::EdDsa]).expect("the signature");
        verified.claims().check(now, Duration::ZERO, "https://i", &["a"]).map(|_| ())
    };
    assert_eq!(judge(json!("https://i"), json!("a")), Ok(()));
    assert_eq!(judge(json!("https://i"), json!(["b", "a"])), Ok(()), "one of several is ours");
    for iss in [json!("https://i/"), json!("HTTPS://i"), json!(""), json!("https://i.evil")] {
        assert_eq!(judge(iss.clone(), json!("a")), Err(Invalid::Issuer), "{iss}");
    }
    assert_eq!(judge(json!(["https://i"]), json!("a")), Err(Invalid::Claim));
    let many: Vec<String> = (0..21).map(|_| "a".to_owned()).collect();
    for aud in [
        json!(null),
        json!("A"),
        json!("a "),
        json!([]),
        json!(["b"]),
        json!([1, "a"]),
        json!({ "a": 1 }),
        json!(many),
    ] {
        assert_eq!(judge(json!("https://i"), aud.clone()), Err(Invalid::Audience), "{aud}");
    }
}

#[test]
fn a19_tokens_are_small_flat_and_name_nothing_twice() {
    let parse = |token: &str| Unverified::parse(token).map(|_| ());
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"EdDSA"}"#);
    let token = |claims: &str| format!("{header}.{}.AAAA", encode(claims));
    assert_eq!(parse(&"a".repeat(1024 * 1024)), Err(Malformed::TooLarge), "a megabyte");
    assert_eq!(
        parse(&token(&format!(r#"{{"a":"{}"}}"#, "x".repeat(TOKEN_BYTES_MAX)))),
        Err(Malformed::TooLarge)
    );
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parse(&token(&nested(DEPTH_MAX - 1))), Ok(()));
    assert_eq!(parse(&token(&nested(DEPTH_MAX))), Err(Malformed::Content));
    assert_eq!(parse(&token(&nested(2_500))), Err(Malformed::Content), "thousands of levels");
    let many = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(parse(&token(&many(CLAIMS_MAX))), Ok(()));
    assert_eq!(parse(&token(&many(CLAIMS_MAX + 1))), Err(Malformed::Content));
    assert_eq!(parse(&token(r#"{"sub":"ada","sub":"eve"}"#)), Err(Malformed::Content), "twice");
    assert_eq!(parse(&token("[]")), Err(Malformed::Content));
    assert_eq!(parse(&token("\u{feff}{}")), Err(Malformed::Content));
    let long = format!("{}.{}.AAAA", encode(&format!(r#"{{"kid":"{}"}}"#, "k".repeat(2_000))), encode("{}"));
    assert_eq!(parse(&long), Err(Malformed::TooLarge), "a long header");
    let forms = [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "....",
        "e30.e30.=",
        "e30.e30.A",
        "e30 .e30.AAAA",
        "e30.e30\n.AAAA",
        "e3=.e30.AAAA",
    ];
    for text in forms {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert_eq!(parse("e30.e30.AAAA"), Ok(()), "empty objects have the form of a token");
    assert_eq!(parse("e30.e31.AAAA"), Err(Malformed::Form), "another spelling of the same bytes is none");
}

proptest! {
    #[test]
    fn a19_no_text_is_a_surprise(text in ".{0,400}") {
        let _ = Unverified::parse(&text);
    }

    #[test]
    fn a_changed_token_does_not_verify(at in 0_usize..120, with in 0_u8..64) {
        let token = with_header(&json!({ "alg": "EdDSA", "kid": "k" }), &claims());
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = token.clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != b'.' && bytes[at] != alphabet[usize::from(with)]);
        bytes[at] = alphabet[usize::from(with)];
        let changed = String::from_utf8(bytes).expect("ASCII");
        if let Ok(parsed) = Unverified::parse(&changed) {
            prop_assert!(parsed.verify(key().public(), &[Algorithm::EdDsa]).is_err(), "{changed}");
        }
    }
}
